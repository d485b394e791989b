"""A row of features as a decoder made it, which looks like a dict and becomes JSON without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from afterfit.records import Value


class PackedRow(Mapping[str, Value]):
    """A struct's fields by the names that they have in JSON; one that is unset is not there.

    Args:
        struct: of the decoder.
        fields: name in JSON -> attribute; one mapping for all rows of a model.

    >>> class Flight(msgspec.Struct, rename={"a": "air time"}):
    ...     a: int
    >>> dict(PackedRow(Flight(41), {"air time": "a"}))
    {'air time': 41}
    """

    __slots__ = ("_fields", "struct")

    def __init__(self, struct: msgspec.Struct, fields: Mapping[str, str]) -> None:
        self.struct = struct
        self._fields = fields

    def __getitem__(self, name: str) -> Value:
        value: Any = getattr(self.struct, self._fields[name])
        if value is msgspec.UNSET:
            raise KeyError(name)
        return value  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return (n for n, field in self._fields.items() if getattr(self.struct, field) is not msgspec.UNSET)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    @staticmethod
    def table(rows: Sequence[Mapping[str, Value]]) -> tuple[list[str], list[tuple[Any, ...]]] | None:
        """Names of the fields, and their values in each row, UNSET where one is not there; None where not all rows are of
        one decoder."""
        if {type(row) for row in rows} != {PackedRow}:
            return None
        packed = cast("Sequence[PackedRow]", rows)
        fields = packed[0]._fields
        if any(row._fields is not fields for row in packed):
            return None
        return list(fields), [msgspec.structs.astuple(row.struct) for row in packed]
