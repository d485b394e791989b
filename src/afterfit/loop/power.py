"""What the monitor of a live model would find, and how soon: tried on the newest windows of the lake."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from afterfit.loop.conductor import Loop
from afterfit.loop.windows import LOOKED_AT, seconds
from afterfit.monitoring.budget import of_inputs
from afterfit.monitoring.checks import is_healthy
from afterfit.monitoring.columns import columns_of
from afterfit.monitoring.power import Power, power_report
from afterfit.monitoring.power_rows import Healthy, draw_windows
from afterfit.monitoring.segments import WHOLE
from afterfit.records import ModelVersion, Window

NEWEST, FEWEST = 14, 3  # healthy windows that are played; with fewer than these rows are drawn from the reference
MOST_ROWS = 1_000_000  # of all windows together; of larger ones fewer are read, FEWEST at least


def power_of(loop: Loop, model: str, *, seed: int = 0, tell: Callable[[int, int], None] | None = None) -> Power:
    """The power report of the champion, with the budget and the windows that its live monitor has.

    A model that is also judged by segment has half of its budget there; the report is about the whole.

    Raises:
        InputError: nothing is live yet.
        StoreError: the reference can't be read.
    """
    champion, config = loop.champion(loop.book(model)).as_logged, loop.config(model)
    reference = loop.senses.reference(champion)
    alpha = of_inputs(config) * (WHOLE if reference.segments else 1.0)
    known = [
        (window, min(int(numbers["n"]), LOOKED_AT))
        for window, findings, numbers in loop.home.store.windows(model, "drift")
        if numbers.get("n") and is_healthy(findings)
    ]
    if len(known) < FEWEST:
        rows = round(np.mean([n for _, n in known])) if known else None
        made = draw_windows(reference, np.random.default_rng(seed), rows=rows)
        return power_report(reference, made, alpha=alpha, seed=seed, drawn=True, tell=tell)
    windows = [_read(loop, champion, window) for window in _newest(known)]
    return power_report(reference, windows, alpha=alpha, seed=seed, tell=tell)


def _newest(known: list[tuple[Window, int]]) -> list[Window]:
    """The last windows, oldest first, as many as MOST_ROWS allow."""
    chosen: list[Window] = []
    total = 0
    for window, rows in reversed(known[-NEWEST:]):
        total += rows
        if len(chosen) >= FEWEST and total > MOST_ROWS:
            break
        chosen.insert(0, window)
    return chosen


def _read(loop: Loop, champion: ModelVersion, window: Window) -> Healthy:
    table = loop.home.lake.predictions(champion.model, window, features=champion.features, most=LOOKED_AT)
    return Healthy(window.start.timestamp(), columns_of(table, champion.features), seconds(table["time"]))
