"""The conductor: tick(now) = sense, decide, act. The only place where the four systems meet."""

from afterfit.loop.conductor import Loop

__all__ = ["Loop"]
