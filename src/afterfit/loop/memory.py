"""What a version is expected to take, in words, and whether that is too much."""

from __future__ import annotations

from afterfit.adapters.expected_memory import Expected, expected_memory, free_memory
from afterfit.errors import InputError
from afterfit.records import ModelVersion


def in_words(expected: Expected) -> str:
    """Where the memory is taken: of a graph in the gateway's process, not in one of its own.

    >>> in_words(Expected(320.0)), in_words(Expected(327.0, 127.0))
    ('320 MB', '127 MB more in the gateway (and a process of 327 MB while it scores copies)')
    """
    if not expected.gateway:
        return f"{expected.process:.0f} MB"
    return f"{expected.gateway:.0f} MB more in the gateway (and a process of {expected.process:.0f} MB while it scores copies)"


def refuse_large(version: ModelVersion, most: float | None) -> None:
    """A process that will be killed for its memory need not be started.

    Args:
        most: MB that the settings let it take; None: they do not say.

    Raises:
        InputError: it is expected to take more.
    """
    expected = expected_memory(version.folder)
    if most is not None and expected.process > most:
        scoring = ", in a process of its own while it scores copies" if expected.gateway else ""
        raise InputError(
            f"version {version.version} of {version.model} is expected to take {expected.process:.0f} MB{scoring}, by the size of "
            f"its files; worker_memory lets it take {most:.0f} MB. Raise it in afterfit.toml, or register a smaller model"
        )


def shortage(version: ModelVersion) -> str:
    """What to tell where a version is expected to take more than is free; else nothing."""
    expected, free = expected_memory(version.folder), free_memory()
    if expected.most <= free:
        return ""
    killed = "the gateway, and with it every model" if expected.gateway else "its process, or another one"
    return (
        f"version {version.version} is expected to take {in_words(expected)}, by the size of its files; {free:.0f} MB are free "
        f"on this machine, which may kill {killed}. Free memory before it is loaded, or register a smaller model"
    )
