"""Checks rows against a model's signature; an error names row, feature, what was wanted and what was found.

Nearly every body fits and is read by a decoder that is compiled once from the signature. One that it does not take is
read again by hand: that is slower, and alone decides what is wrong and how it is told.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, cast

import msgspec

from afterfit.adapters.lane import bounds_of
from afterfit.adapters.packed_row import PackedRow, PackedRows
from afterfit.errors import InputError, list_known
from afterfit.feedback.told import kind_of
from afterfit.records import Feature, Value

MOST_PROBLEMS = 10  # problems told at once
_MOST_LISTED = 30  # feature names in one problem

Columns = dict[str, list[Value]]  # one list a feature, all of one length


class Body(msgspec.Struct, gc=False):
    """A predict body as it was sent; `key`, `id` and `time` are not looked at yet."""

    rows: list[Any]
    key: Any = None
    id: Any = None
    time: Any = None


class SignatureError(InputError):
    """Rows that do not fit; `problems` has one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class Signature:
    """The features of one version, ready to check rows and to turn them into columns.

    Args:
        features: what the version was trained on.
        also: names of features that only other routed versions want; they are allowed, and not looked at.

    >>> Signature([Feature("a", "number", "float64")]).columns([{"a": 1}, {"a": 2.5}])
    {'a': [1, 2.5]}
    """

    def __init__(self, features: Sequence[Feature], also: Iterable[str] = ()) -> None:
        self._features = {f.name: f for f in features}
        self._allowed = frozenset([*self._features, *also])
        self._fits = [(f.name, f.nullable, _fits_of(f)) for f in features]
        self._names = [*self._features, *sorted(self._allowed - self._features.keys())]
        self._decode = _decoder(self._names, self._features)
        self._fields = {name: f"f{i}" for i, name in enumerate(self._names)}  # of what the decoder makes
        self._of = [(name, attrgetter(self._fields[name])) for name in self._features]

    @property
    def names(self) -> frozenset[str]:
        """The features that the version wants."""
        return frozenset(self._features)

    def read(self, body: bytes) -> Body | None:
        """The body, its rows checked and packed; None where the quick way does not take it."""
        try:
            return self._decode(body) if self._decode is not None else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def unpack(self, packed: Sequence[Any]) -> tuple[Sequence[Mapping[str, Value]], Columns]:
        """The rows that `read` packed, as they were sent and as the version's own columns."""
        if len(packed) == 1:
            values = msgspec.structs.astuple(packed[0])
            return [PackedRow(packed[0], self._fields)], {
                name: [value] for name, value in zip(self._features, values, strict=False)
            }
        rows = PackedRows(packed, self._fields)
        return rows, dict(zip(self._features, map(list, zip(*rows.values, strict=True)), strict=False))

    def known(self, rows: Sequence[Mapping[str, Value]]) -> Columns:
        """The version's own columns of rows that this signature has read or checked before."""
        packed = [row.struct for row in rows if isinstance(row, PackedRow)]
        if len(packed) < len(rows):
            return {name: [row[name] for row in rows] for name in self._features}
        return {name: list(map(of, packed)) for name, of in self._of}

    def columns(self, rows: Sequence[Mapping[str, Value]]) -> Columns:
        """The version's own features by name, each with one value a row.

        Raises:
            SignatureError: a row has a missing, extra or wrong feature; up to ten problems are told.
        """
        problems: list[str] = []
        for number, row in enumerate(rows):
            if not self._is_fine(row):
                problems += self._problems(number, row)
                if len(problems) >= MOST_PROBLEMS:
                    break
        if problems:
            raise SignatureError(problems[:MOST_PROBLEMS])
        return {name: [row[name] for row in rows] for name in self._features}

    def accepts_all_of(self, other: Signature) -> bool:
        """Whether every row that fits `other` fits this one too, so that it need not be checked twice."""
        theirs = other._features
        return all(name in theirs and _takes_all_of(mine, theirs[name]) for name, mine in self._features.items())

    def _is_fine(self, row: Any) -> bool:
        """The quick look that nearly every row passes."""
        if not isinstance(row, dict | PackedRow) or not self._allowed.issuperset(row):
            return False
        for name, nullable, fits in self._fits:
            value = row.get(name)
            if value is None:
                if not (nullable and name in row):
                    return False
            elif not fits(value):
                return False
        return True

    def _problems(self, number: int, row: object) -> list[str]:
        if not isinstance(row, dict | PackedRow):
            return [f"row {number}: wanted an object of features, found {kind_of(row)}"]
        found = []
        for name, nullable, fits in self._fits:
            kind, value = self._features[name].kind, row.get(name)
            if name not in row:
                found.append(f"row {number}: feature {name!r} is missing; wanted {kind}")
            elif value is None:
                if not nullable:
                    found.append(
                        f"row {number}: feature {name!r} is null; wanted {kind} (no null was seen in training)"
                    )
            elif not fits(value):
                found.append(f"row {number}: feature {name!r}: {_misfit(self._features[name], value)}")
        for name in row.keys() - self._allowed:
            found.append(f"row {number}: unknown feature {name!r}; {self._known(name)}")
        return found

    def _known(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._features, n=1)
        names = dict.fromkeys([*near, *sorted(self._features)][:_MOST_LISTED])
        more = len(self._features) - len(names)
        return list_known(name, names) + (f" ({more} more are not listed)" if more else "")


def _decoder(names: Sequence[str], features: Mapping[str, Feature]) -> Callable[[bytes], Body] | None:
    """A decoder of bodies whose rows have these names; None where a name is one that msgspec does not take."""
    if any(char in '"\\' or char < " " for name in names for char in name):
        return None
    fields: list[Any] = []
    for i, name in enumerate(names):
        feature = features.get(name)
        if feature is None:
            fields.append((f"f{i}", Any, msgspec.UNSET))
        else:
            fields.append((f"f{i}", _type_of(feature) | None if feature.nullable else _type_of(feature)))
    rename = {f"f{i}": name for i, name in enumerate(names)}
    row = msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    body = msgspec.defstruct("Checked", [("rows", list[row])], bases=(Body,), forbid_unknown_fields=True, gc=False)  # type: ignore[valid-type]
    return cast(Callable[[bytes], Body], msgspec.json.Decoder(body).decode)


def _number(value: Any) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is float and math.isfinite(value)


def _integer(feature: Feature) -> Callable[[Any], bool]:
    """A fraction of zero is fine: JSON of other languages writes 2.0."""
    low, high = bounds_of(feature)
    return lambda value: (type(value) is int or (type(value) is float and value.is_integer())) and low <= value <= high


def _fits_of(feature: Feature) -> Callable[[Any], bool]:
    return _integer(feature) if feature.kind == "integer" else _FITS[feature.kind]


def _type_of(feature: Feature) -> Any:
    """What the quick way's decoder reads."""
    if feature.kind != "integer":
        return _TYPES[feature.kind]
    low, high = bounds_of(feature)
    return Annotated[int, msgspec.Meta(ge=low, le=high)]


def _takes_all_of(mine: Feature, other: Feature) -> bool:
    """Whether every value that fits the other feature fits this one."""
    if mine.kind != other.kind or (other.nullable and not mine.nullable):
        return False
    if mine.kind != "integer":
        return True
    (low, high), (lowest, highest) = bounds_of(mine), bounds_of(other)
    return low <= lowest and highest <= high


def _misfit(feature: Feature, value: object) -> str:
    """What was wanted and found of a value that does not fit; a type of fewer than 64 bits is told with its range."""
    if feature.kind == "integer" and (feature.dtype.lower() != "int64"):
        low, high = bounds_of(feature)
        outside = " outside of it" if type(value) is int else ""
        return f"wanted integer from {low} to {high} ({feature.dtype} in training), found {kind_of(value)}{outside}"
    return f"wanted {feature.kind}, found {kind_of(value)}"


_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[str, Any] = {"number": _INT64 | float, "boolean": bool, "text": str}
_FITS: dict[str, Callable[[Any], bool]] = {
    "number": _number,
    "boolean": lambda value: type(value) is bool,
    "text": lambda value: type(value) is str,
}
