"""Checks rows against a model's signature; an error names row, feature, what was wanted and what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from afterfit.errors import InputError, list_known
from afterfit.records import Feature, Value

MOST_PROBLEMS = 10  # problems told at once


class SignatureError(InputError):
    """Rows that do not fit; `problems` has one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class Signature:
    """The features of one model, ready to check rows and to turn them into columns."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)
        self._names = frozenset(f.name for f in features)
        self._fits: list[tuple[str, bool, str, Callable[[Any], bool]]] = [
            (f.name, f.nullable, f.kind, _FITS[f.kind]) for f in features
        ]

    def columns(self, rows: Sequence[Mapping[str, Value]]) -> list[list[Value]]:
        """One list a feature, in the order of the signature.

        Raises:
            SignatureError: a row has a missing, extra or wrong feature; up to ten problems are told.
        """
        problems: list[str] = []
        for number, row in enumerate(rows):
            if len(problems) >= MOST_PROBLEMS:
                break
            problems += self._problems(number, row)
        if problems:
            raise SignatureError(problems[:MOST_PROBLEMS])
        return [[row[name] for row in rows] for name, *_ in self._fits]

    def _problems(self, number: int, row: object) -> list[str]:
        if not isinstance(row, dict):
            return [f"row {number}: wanted an object of features, found {_kind(row)}"]
        found = []
        for name, nullable, kind, fits in self._fits:
            if name not in row:
                found.append(f"row {number}: feature {name!r} is missing; wanted {kind}")
                continue
            value = row[name]
            if value is None:
                if not nullable:
                    found.append(
                        f"row {number}: feature {name!r} is null; wanted {kind} (no null was seen in training)"
                    )
            elif not fits(value):
                found.append(f"row {number}: feature {name!r}: wanted {kind}, found {_kind(value)} {_short(value)}")
        for name in row.keys() - self._names:
            found.append(f"row {number}: unknown feature {name!r}; {list_known(name, sorted(self._names))}")
        return found


def _number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _integer(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2**63) or (type(value) is float and value.is_integer())


_FITS: dict[str, Callable[[Any], bool]] = {
    "number": _number,
    "integer": _integer,
    "boolean": lambda value: type(value) is bool,
    "text": lambda value: type(value) is str,
}
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "text", dict: "object", list: "array"}


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
