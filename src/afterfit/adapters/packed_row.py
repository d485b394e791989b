"""Rows of features as a decoder made them, which look like dicts and become JSON without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

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


class PackedRows(Sequence[PackedRow]):
    """Many rows of one decoder; each is wrapped when it is asked for."""

    def __init__(self, structs: Sequence[msgspec.Struct], fields: Mapping[str, str]) -> None:
        self.structs = structs
        self._fields = fields
        self.names = list(fields)

    def __len__(self) -> int:
        return len(self.structs)

    @overload
    def __getitem__(self, at: int) -> PackedRow: ...
    @overload
    def __getitem__(self, at: slice) -> PackedRows: ...
    def __getitem__(self, at: int | slice) -> PackedRow | PackedRows:
        found = self.structs[at]
        return PackedRow(found, self._fields) if isinstance(found, msgspec.Struct) else PackedRows(found, self._fields)

    @cached_property
    def values(self) -> list[tuple[Any, ...]]:
        """What `names` are in each row, UNSET where one is not there."""
        return list(map(msgspec.structs.astuple, self.structs))
