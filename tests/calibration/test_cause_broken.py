"""`af.cause` names a broken feed: a changed unit in all rows, a sensor's -999 in some, nulls in most.

The bound is that of `test_cause.py`: 18 of 20 worlds, missed with a chance of 1e-3 by what is right in 99 % of all worlds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.calibration import cause_worlds as worlds
from tests.calibration.test_cause import NEEDED


@pytest.mark.parametrize(
    ("world", "column", "of_rows"),
    [(worlds.celsius, "temp", 1.0), (worlds.sensor, "wind", 0.3), (worlds.nulls, "wind", 0.85)],
    ids=["unit", "sensor", "nulls"],
)
def test_a_broken_feed_is_named_with_its_column(world: Callable[..., Any], column: str, of_rows: float) -> None:
    found = [worlds.explained(world, seed) for seed in range(worlds.WORLDS)]
    named = Counter((c.largest, c.broken[0].column if c.broken else None) for c in found)
    assert named["data quality", column] >= NEEDED, named
    for c in found:
        assert c.broken[0].of_rows == pytest.approx(of_rows, abs=0.07)  # 4 standard deviations of 1,200 rows are 0.05
