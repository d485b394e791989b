"""Which windows are due, and what their findings open or close: the frame in which inputs and outcomes are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.config import ModelConfig
from afterfit.home import Home
from afterfit.monitoring.incidents import group
from afterfit.records import Finding, Incident, ModelVersion, Window

if TYPE_CHECKING:
    import pyarrow as pa

    from afterfit.loop.book import Book

LOOKED_AT = 100_000  # rows of a window; of more a share is drawn, so that memory does not grow with traffic
MANY_WINDOWS = 400  # closed windows looked at in one tick; the rest wait for the next


class Windows:
    """The grid of windows of each model and kind, and how far it was looked at."""

    def __init__(self, home: Home) -> None:
        self._store = home.store
        self._next: dict[tuple[str, str], datetime] = {}  # where the next window of a kind begins

    def due(self, book: Book, config: ModelConfig, kind: str, until: datetime) -> Iterator[Window]:
        """Closed windows not looked at yet, oldest first, on a grid that does not depend on when we started."""
        place = (book.model, kind)
        if place not in self._next:
            seen = self._store.windows(book.model, kind)
            self._next[place] = seen[-1][0].end if seen else grid(book.crowned[0][1], config.window)
        step = timedelta(seconds=config.window)
        for _ in range(MANY_WINDOWS):
            window = Window(self._next[place], self._next[place] + step)
            if window.end > until:
                return
            yield window
            self._next[place] = window.end  # only once it was looked at without an error

    def group(
        self, findings: Sequence[Finding], champion: ModelVersion, window: Window, now: datetime,
        kinds: tuple[str, ...], *, harm: str = "",
    ) -> list[Incident]:  # fmt: skip
        """Save the incidents of these kinds after one window; returns those that opened or closed."""
        store, model = self._store, champion.model
        before = [i for i in store.incidents(model, open_only=True) if i.kind in kinds]
        after = group(findings, before, model=model, version=champion.version, window=window, now=now, harm=harm)
        known = {i.id for i in before}
        for incident in after:
            store.save_incident(incident)
        return [i for i in after if i.id not in known or i.closed_at is not None]


def grid(moment: datetime, step: float) -> datetime:
    """The start of the window that holds a moment."""
    return datetime.fromtimestamp(moment.timestamp() // step * step, UTC)


def seconds(column: Any) -> Any:
    """A timestamp column as epoch seconds, NaN where null."""
    values = column.cast("int64").to_pandas().to_numpy(dtype=float, na_value=np.nan)
    return values / 1e6


def of_version(table: pa.Table, version: ModelVersion) -> pa.Table:
    """The rows that a version answered."""
    import pyarrow.compute as pc

    return table.filter(pc.equal(table["version"], version.version))
