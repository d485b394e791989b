"""Trains the service's model as always, and registers it: that keeps what live windows are compared with."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import afterfit as af


def flats(n: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Flats of a made-up town, and whether each was let within a month."""
    dice = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "size": dice.gamma(9.0, 8.0, n).round(1),
            "rooms": dice.integers(1, 6, n),
            "district": dice.choice(["harbour", "hill", "old town"], n, p=[0.5, 0.3, 0.2]),
        }
    )
    pull = 2.0 - 0.03 * X["size"] + 0.3 * X["rooms"] + (X["district"] == "hill")
    return X, pd.Series((dice.random(n) < 1 / (1 + np.exp(-pull))).astype(int), name="let")


def main() -> None:
    """Fit, save for the service, register."""
    X, y = flats(2000, seed=0)
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["district"]), remainder="passthrough")
    model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=30, random_state=0)).fit(X, y)
    Path("model.pkl").write_bytes(pickle.dumps(model))
    version = af.register("let-soon", model, X, y, holdout=flats(1000, seed=1))
    print(f"version {version.version}, held-out loss {version.metrics['holdout_loss']:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
