"""The world of the soak: rows with a number, an integer and a category, and how likely each comes true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

GRAPH, PLAIN = "graph", "plain"  # the model in lane onnx, and the one whose versions are worker processes
FEATURES = ("a", "b", "c")


def frame(n: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """`n` rows, and the chance of a 1 for each, of shape (n,)."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.integers(0, 5, n), "c": rng.choice(["x", "y", "z"], n)})
    logit = 2.0 * X["a"] + 0.5 * X["b"] + (X["c"] == "x") - 1.5
    return X, (1.0 / (1.0 + np.exp(-logit))).to_numpy()
