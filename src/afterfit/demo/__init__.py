"""`afterfit demo`: a real model lives through the flights of 2013, in front of the real gateway and the real loop."""

from afterfit.demo.run import run

__all__ = ["run"]
