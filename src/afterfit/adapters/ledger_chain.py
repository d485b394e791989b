"""What makes the ledger tamper-evident: the hash of an entry, and the walk that finds where the chain is broken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from afterfit.adapters.record_json import from_json, to_json, utc_text
from afterfit.errors import StoreError
from afterfit.records import Entry

FIRST = "0" * 64  # `previous` of entry 1


def entry_hash(entry: Entry) -> str:
    """sha256, in hex, over the canonical JSON of all fields but `hash`; `previous` chains it to the entry before."""
    fields = {name: getattr(entry, name) for name in Entry.__slots__ if name != "hash"}
    return hashlib.sha256(to_json(fields).encode("ascii")).hexdigest()


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry in a row of the table.

    Raises:
        StoreError: the row was spoiled.
    """
    try:
        at = datetime.fromisoformat(row["at"])
        utc_text(at)  # refuses a time without zone
        return Entry(**{**row, "at": at, "data": from_json(row["data"], dict[str, Any])})
    except (ValueError, TypeError, StoreError) as error:
        raise StoreError(
            f"entry {row['number']} of the ledger can't be read: {error}. It was changed from outside; "
            "`afterfit doctor` lists all that is wrong. Restore the control store from a backup"
        ) from error


def problems_of(rows: Iterable[Mapping[str, Any]], head: Mapping[str, Any] | None) -> list[str]:
    """Walk the rows in the order of their numbers; say in words what is changed, missing or not linked.

    `head` is the row of `ledger_head`: the number and hash of the newest entry.
    """
    problems: list[str] = []
    number, link = 0, FIRST
    for row in rows:
        found = int(row["number"])
        if found < 1:
            problems.append(f"entry {found} does not belong: numbers start at 1")
            continue
        if found > number + 1:
            problems.append(_missing(number + 1, found - 1))
        elif row["previous"] != link:
            problems.append(f"entry {found} does not link to {_name(number)}: `previous` is not the hash found there")
        problems += _changed(row)
        number, link = found, row["hash"]
    return problems + _tail(number, link, head)


def _changed(row: Mapping[str, Any]) -> list[str]:
    try:
        same = entry_hash(entry_of(row)) == row["hash"]
    except StoreError as error:
        return [str(error)]
    return (
        [] if same else [f"entry {row['number']} was changed after it was written: its hash does not fit its content"]
    )


def _tail(number: int, link: str, head: Mapping[str, Any] | None) -> list[str]:
    """Entries cut off the end leave a chain that is whole in itself; only the head knows."""
    if head is None:
        return ["the head of the ledger is missing: nobody can say whether the newest entries are there"]
    if head["number"] > number:
        return [_missing(number + 1, head["number"])]
    if head["number"] < number or head["hash"] != link:
        return [f"entry {number} is not the one that was written last: the head names entry {head['number']}"]
    return []


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"


def _name(number: int) -> str:
    return f"entry {number}" if number else "the start of the chain"
