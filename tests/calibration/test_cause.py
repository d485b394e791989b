"""`af.cause` names the one thing that changed, in simulated worlds with a known truth.

20 worlds of each kind, 1,200 rows on each side. At least 18 of 20 (90 %) must come out right, and a kind that comes out right
in 99 % of all worlds falls below that with a chance of 1e-3; the seeds are fixed. Broken feeds: `test_cause_broken.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import binom

from tests.calibration import cause_worlds as worlds

NEEDED = 18


def test_the_bound_is_what_the_head_says() -> None:
    assert NEEDED >= 0.9 * worlds.WORLDS
    assert binom.cdf(NEEDED - 1, worlds.WORLDS, 0.99) < 1.1e-3


@pytest.mark.parametrize(
    ("world", "wanted"),
    [
        (worlds.covariate, "covariate shift"),
        (worlds.label, "label shift"),
        (worlds.concept, "concept"),
    ],
    ids=["covariate", "label", "concept"],
)
def test_the_one_thing_that_changed_is_named(world: Callable[..., Any], wanted: str) -> None:
    found = [worlds.explained(world, seed) for seed in range(worlds.WORLDS)]
    named = Counter(c.largest for c in found)
    assert named[wanted] >= NEEDED, named
    for c in found:
        assert sum(part.value for part in c.shares.values()) == pytest.approx(c.drop.value, abs=1e-12)
        assert c.drop.value == pytest.approx(c.current_loss - c.reference_loss, abs=1e-12)


def test_no_drop_is_explained_where_there_is_none() -> None:
    """At a level of 0.01 three or more of 20 are called a change with a chance of 1e-3."""
    found = [worlds.explained(worlds.nothing, seed) for seed in range(worlds.WORLDS)]
    quiet = [c for c in found if c.largest is None]
    assert len(quiet) >= NEEDED
    assert all(str(c).startswith("No drop to explain") for c in quiet)
    assert all(part.share is None for c in quiet for part in c.shares.values())
