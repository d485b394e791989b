"""What was counted in a round, and how ours compares with others in it. Nothing is run or printed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

ONE, MANY = 1, 32  # connections
OURS = "ours"


@dataclass(frozen=True)
class Load:
    """What the client counted in one stretch. `refused` were answered with another status than 2xx or 3xx."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int  # connections refused or lost, and requests that were never answered

    @property
    def answered(self) -> int:
        """Requests that were answered well."""
        return self.requests - self.refused

    @property
    def per_second(self) -> float:
        """The same, a second."""
        return self.answered / self.seconds

    @property
    def errors(self) -> int:
        """Requests that were not answered well."""
        return self.refused + self.broken


@dataclass(frozen=True)
class Round:
    """One contestant with one model, once: the client's counts by connections, and the server's memory after them."""

    loads: Mapping[int, Load]
    peak_mb: float
    batch_s: float | None = None  # seconds of a request with all rows; None: refused
    problem: str = ""  # why there is no batch

    @property
    def speed(self) -> float:
        """Requests a second at 32 connections."""
        return self.loads[MANY].per_second


@dataclass(frozen=True)
class Bare:
    """The model in process in the same round."""

    python_p50: float  # ms, one row through predict_proba
    graph_p50: float | None  # ms, one row through the ONNX graph; None: there is none
    batch_s: float  # seconds, all rows through predict_proba

    @property
    def fastest(self) -> float:
        """The faster of the two calls for one row, in ms."""
        return self.python_p50 if self.graph_p50 is None else min(self.python_p50, self.graph_p50)


Rounds = Mapping[str, Sequence[Round]]  # by contestant


def speed(round_: Round) -> float:
    """Requests a second at 32 connections."""
    return round_.speed


def paired(rounds: Rounds, name: str, value: Callable[[Round], float] = speed) -> list[float]:
    """Ours over theirs, round by round."""
    return [value(ours) / value(theirs) for ours, theirs in zip(rounds[OURS], rounds[name], strict=True)]


def best(rounds: Rounds, names: Sequence[str]) -> str | None:
    """Who of these answered most requests at 32 connections, by the median; None when none of them is there."""
    there = [name for name in names if name in rounds]
    return max(there, key=lambda name: median(map(speed, rounds[name])), default=None)


def tails(rounds: Rounds, name: str) -> list[float]:
    """Our p99 at 32 connections over their p50, round by round."""
    return [
        ours.loads[MANY].p99_ms / theirs.loads[MANY].p50_ms
        for ours, theirs in zip(rounds[OURS], rounds[name], strict=True)
    ]


def added(rounds: Sequence[Round], bare: Sequence[Bare]) -> tuple[list[float], list[float]]:
    """(p50, p99) in ms at one connection, less the p50 of the faster in-process call of the same round."""
    pairs = list(zip(rounds, bare, strict=True))
    return [r.loads[ONE].p50_ms - b.fastest for r, b in pairs], [r.loads[ONE].p99_ms - b.fastest for r, b in pairs]


def batch_speeds(rounds: Sequence[Round], bare: Sequence[Bare]) -> list[float]:
    """Speed of the large request over that of the bare call, in the rounds that have one."""
    return [b.batch_s / r.batch_s for r, b in zip(rounds, bare, strict=True) if r.batch_s is not None]


def log_is_right(acknowledged: int, cut: int, rows: int, ids: int) -> bool:
    """Whether every acknowledged row is in the log once.

    Args:
        acknowledged: rows whose reply the client has read.
        cut: requests that the client may have hung up on; they may be in the log.
        rows, ids: of the log.

    >>> log_is_right(100, 2, 101, 101), log_is_right(100, 2, 99, 99), log_is_right(100, 2, 101, 100)
    (True, False, False)
    """
    return acknowledged <= rows <= acknowledged + cut and ids == rows
