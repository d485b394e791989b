"""One Delta table of the lake: append exactly once, list the files of a snapshot, keep their number small."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from afterfit.adapters.lake_schema import SCHEMAS, TABLES, TIME, to_arrow
from afterfit.errors import StoreError
from afterfit.records import Window

MANY_FILES = 60  # small files of one model from which on they are compacted
_LOOK_EVERY = 10  # commits between two counts of the small files
_SMALL = 2 << 20  # bytes below which a file counts as small
_TARGET = 16 << 20  # bytes of a compacted file: few files, and still a day of a year is found without reading all
_ROW_GROUP = 32_768  # rows; the unit in which a reader skips what lies outside its window
_KEEP_HOURS = 1  # a replaced file and an old log entry stay this long for readers that still use them
_CONFIGURATION = {
    "delta.dataSkippingStatsColumns": "time",
    "delta.logRetentionDuration": f"interval {_KEEP_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {_KEEP_HOURS} hours",
}
_ROUNDING = pa.scalar(timedelta(milliseconds=1), pa.duration("us"))  # statistics of Delta may be cut to milliseconds
_ANSI = re.compile(r"\x1b\[[0-9;]*m|↳")

log = logging.getLogger(__name__)


class LakeTable:
    """The Delta table of one kind of row in a folder of the lake, partitioned by model.

    One object may be used by several threads; appends of several processes are the caller's to serialise.
    """

    def __init__(self, lake: Path, kind: str) -> None:
        self.kind = kind
        self.path = lake / TABLES[kind]
        self._lock = threading.Lock()
        self._table: DeltaTable | None = None
        self._seen: tuple[int, int] | None = None  # stamp of the snapshot that `_table` holds
        self._unseen_commits = _LOOK_EVERY  # at first nobody knows what earlier processes left

    def append(self, journal_id: str, rows: Sequence[tuple[int, bytes]]) -> int:
        """Commit the entries of a journal, in order of their numbers, that are not in the table yet; how many rows they are.

        The commit carries (journal id, last number), so rows and number become visible together or not at all.
        """
        with self._lock, self._teach("written"):
            table = self._newest() or self._create()
            done = table.transaction_version(journal_id)
            fresh = rows if done is None else [row for row in rows if row[0] > done]
            if not fresh:
                return 0
            data = to_arrow(self.kind, fresh)
            mark = Transaction(journal_id, fresh[-1][0])
            write_deltalake(
                table,
                data,
                mode="append",
                commit_properties=CommitProperties(app_transactions=[mark]),
            )
            self._remember(table)
            self._unseen_commits += 1
        return int(data.num_rows)

    def files(self, model: str, window: Window | None = None) -> list[str]:
        """Paths of the newest snapshot's files that may hold rows of this model with `time` in the window."""
        actions = self._actions()
        if actions is None:
            return []
        wanted = pc.equal(actions["partition.model"], model)
        if window is not None and "max.time" in actions.column_names:
            start = pc.subtract(pa.scalar(window.start, TIME), _ROUNDING)  # arrow's times know no year 1 to fall out of
            end = pc.add(pa.scalar(window.end, TIME), _ROUNDING)
            reaches = pc.and_(pc.greater_equal(actions["max.time"], start), pc.less(actions["min.time"], end))
            wanted = pc.and_(wanted, pc.fill_null(reaches, True))
        return [str(self.path / unquote(path)) for path in actions.filter(wanted)["path"].to_pylist()]

    def count(self, model: str) -> int:
        """Rows of one model, from the log alone."""
        actions = self._actions()
        if actions is None:
            return 0
        return int(pc.sum(actions.filter(pc.equal(actions["partition.model"], model))["num_records"]).as_py() or 0)

    def compact_if_due(self) -> None:
        """Merge the small files of models that have many, and drop what no reader can still be using.

        A failure is logged and tried again after the next drain; the rows stay readable as they were.
        """
        if self._unseen_commits < _LOOK_EVERY:
            return
        try:
            due = self._models_with_many_files()
            if due:
                with self._lock, self._teach("compacted"):
                    self._compact(due)
        except StoreError as error:
            log.warning("%s It is tried again after the next drain.", error)
        else:
            self._unseen_commits = 0

    def _models_with_many_files(self) -> list[str]:
        actions = self._actions()
        if actions is None:
            return []
        small = actions.filter(pc.less(actions["size_bytes"], _SMALL))["partition.model"]
        return [c["values"] for c in pc.value_counts(small).to_pylist() if c["counts"] >= MANY_FILES]

    def _compact(self, models: Sequence[str]) -> None:
        table = self._newest()
        if table is None:
            return
        for model in models:
            table.optimize.compact(
                partition_filters=[("model", "=", model)],
                target_size=_TARGET,
                writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=_ROW_GROUP),
            )
        table.create_checkpoint()
        table.cleanup_metadata()
        # `full`: also files that a killed writer left without a commit
        table.vacuum(retention_hours=_KEEP_HOURS, dry_run=False, enforce_retention_duration=False, full=True)

    def _actions(self) -> pa.Table | None:
        """One row per file of the newest snapshot; None when there is none."""
        with self._lock, self._teach("read"):
            table = self._newest()
            actions = None if table is None else pa.table(table.get_add_actions(flatten=True))
        return actions if actions is not None and actions.num_rows else None

    def _newest(self) -> DeltaTable | None:
        """The table as it is now; another process may have written since, or somebody removed the folder."""
        table = self._table
        if table is not None and self._seen is not None and self._stamp(table) == self._seen:
            table.update_incremental()
        else:
            table = DeltaTable(str(self.path)) if DeltaTable.is_deltatable(str(self.path)) else None
        self._remember(table)
        return table

    def _remember(self, table: DeltaTable | None) -> None:
        self._table, self._seen = table, None if table is None else self._stamp(table)

    def _stamp(self, table: DeltaTable) -> tuple[int, int] | None:
        """Inode and time of the log entry of our snapshot. While they stay, what we know is the past of this table;
        delta-rs does not notice by itself that a table was removed, or made anew, and would write into the gap."""
        try:
            found = (self.path / "_delta_log" / f"{table.version():020}.json").stat()
        except FileNotFoundError:  # removed, or cleaned up after an hour: either way read it afresh
            return None
        return found.st_ino, found.st_mtime_ns

    def _create(self) -> DeltaTable:
        return DeltaTable.create(
            str(self.path), SCHEMAS[self.kind], partition_by=["model"], configuration=_CONFIGURATION
        )

    @contextmanager
    def _teach(self, done: str) -> Iterator[None]:
        try:
            yield
        except (DeltaError, OSError) as error:
            reason = " ".join(_ANSI.sub("", str(error)).split()).rstrip(".")  # delta-rs draws a coloured tree
            raise StoreError(
                f"the lake table {self.path} can't be {done}: {reason}. Rows that are not in it yet stay in the "
                "journal. Look for a full disk, missing permissions or files removed by hand."
            ) from error
