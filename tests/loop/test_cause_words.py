"""What an incident says about the cause of a loss that is high, but no higher than it was."""

from __future__ import annotations

import numpy as np
import pandas as pd

import afterfit as af
from afterfit.loop.cause import in_short


def rows(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=2000)
    score = 1 / (1 + np.exp(-x))
    return pd.DataFrame({"x": x, "score": score, "y": (rng.random(2000) < score).astype(int)})


def test_a_loss_that_was_always_high_is_not_called_a_drop() -> None:
    found = af.cause(rows(0), rows(1), target="y", scores="score", features=["x"], seed=0)
    assert found.largest is None
    said = in_short(found)
    assert said.startswith("why: its last 7 windows are no worse than the 28 before (Brier loss 0.2")
    assert "the hold-out was an easier time" in said
