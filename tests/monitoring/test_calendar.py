"""Columns that the calendar decides, in a world that is closed on some days and quiet on others, are no news."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from afterfit.monitoring.checks import check_window
from afterfit.monitoring.look import REMEMBERED, Seen
from afterfit.monitoring.reference import build_reference
from afterfit.stats.profile import profile

DAY, BEFORE, AFTER = 86_400.0, 240, 56
KINDS = {"weekday": "integer", "hour": "integer", "name": "text"}
NAMES = np.array(["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"], dtype=object)  # the epoch began on a Thursday


def day(rng: np.random.Generator, at: int, at_weekends: int) -> tuple[dict[str, Any], NDArray[np.float64]]:
    of_week = at % 7
    rows = rng.poisson(at_weekends if of_week in (2, 3) else 300)
    hours = np.sort(rng.choice(24, rows, p=np.r_[np.full(6, 0.01), np.full(18, 0.94 / 18)]))
    columns = {
        "weekday": np.full(rows, float(of_week)),
        "hour": hours.astype(float),
        "name": np.full(rows, NAMES[of_week]),
    }
    return columns, at * DAY + hours * 3600.0 + rng.uniform(0, 3600, rows)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("at_weekends", [150, 0], ids=["quiet weekends", "closed at weekends"])
def test_quiet_and_missing_days_move_no_calendar_column(seed: int, at_weekends: int) -> None:
    """At 1 per 90 windows these six runs of 56 may have 4 false alarms. Calendar columns have nearly no noise, so that none
    is what is seen."""
    rng = np.random.default_rng(seed)
    days = [day(rng, 16_000 + d, at_weekends) for d in range(BEFORE)]
    reference = build_reference(
        {n: np.concatenate([c[n] for c, _ in days]) for n in KINDS},
        kinds=KINDS,
        times=np.concatenate([t for _, t in days]),
        prediction=None,
        window=DAY,
    )
    closed = set(rng.choice(AFTER, 8, replace=False).tolist())
    recent: list[Seen] = []
    alarms = []
    for after in range(AFTER):
        columns, times = day(rng, 16_000 + BEFORE + after, at_weekends)
        if after in closed or not times.size:
            continue
        found = check_window(reference, columns, alpha=1 / 90, recent=tuple(recent), times=times)
        alarms += [(after, f.message) for f in found if f.drifted]
        recent = [*recent, Seen(float(16_000 + BEFORE + after) * DAY, profile(columns, KINDS))][-REMEMBERED:]
    assert alarms == []
