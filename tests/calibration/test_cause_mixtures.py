"""`af.cause` names the larger of two things that changed.

The bound is that of `test_cause.py`: 18 of 20 worlds, missed with a chance of 1e-3 by what is right in 99 % of all worlds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from afterfit.monitoring.cause import Cause
from tests.calibration import cause_worlds as worlds
from tests.calibration.test_cause import NEEDED


@cache
def explained(world: Callable[..., Any]) -> tuple[Cause, ...]:
    return tuple(worlds.explained(world, seed) for seed in range(worlds.WORLDS))


@pytest.mark.parametrize(
    ("world", "wanted"),
    [
        (worlds.concept_and_covariate, "concept"),
        (worlds.covariate_and_concept, "covariate shift"),
        (worlds.broken_and_covariate, "data quality"),
        (worlds.concept_and_broken, "concept"),
    ],
    ids=["concept+covariate", "covariate+concept", "broken+covariate", "concept+broken"],
)
def test_the_larger_of_two_is_named(world: Callable[..., Any], wanted: str) -> None:
    named = Counter(c.largest for c in explained(world))
    assert named[wanted] >= NEEDED, named


def test_each_part_of_a_mixture_is_found_in_its_size() -> None:
    """Mean parts of 20 worlds with sensor and concept beside the truth: what each does alone, within 15 % of the drop."""
    mixed = explained(worlds.concept_and_broken)
    rng = np.random.default_rng(9)
    frame = worlds.flights(rng, 200_000)
    before, real = worlds.chance(frame), worlds.chance(frame, temp=-0.8, wind=-1.0)

    def brier(answer: np.ndarray, truth: np.ndarray) -> float:
        return float((truth * (1 - answer) ** 2 + (1 - truth) * answer**2).mean())

    moved = brier(before, real) - brier(before, before)
    broken = 0.08 * (brier(worlds.chance(frame.assign(wind=-999.0)), real) - brier(before, real))
    found = {name: float(np.mean([c.shares[name].value for c in mixed])) for name in mixed[0].shares}
    assert found["concept"] == pytest.approx(moved, abs=0.15 * (moved + broken))
    assert found["data quality"] == pytest.approx(broken, abs=0.15 * (moved + broken))
