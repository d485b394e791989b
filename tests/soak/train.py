"""A user's training script: `python -m tests.soak.train FOLDER MODEL SEED` registers one more version and says which."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import afterfit as af
from afterfit.home import find_config
from tests.soak.rows import frame

N_ROWS = 2_000
OLD = timedelta(seconds=30)  # age of the newest training row: the gate is about rows that came after it


def main() -> None:
    """Each seed has training rows of its own, so versions differ."""
    folder, model, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    X, p = frame(N_ROWS, seed)
    y = pd.Series((np.random.default_rng(seed).random(N_ROWS) < p).astype(int))
    n = N_ROWS * 3 // 4
    times = pd.Series(pd.date_range(end=datetime.now(UTC) - OLD, periods=n, freq="min"))
    fitted = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough"), LogisticRegression()
    ).fit(X[:n], y[:n])
    version = af.register(model, fitted, X[:n], y[:n], holdout=(X[n:], y[n:]), time=times, config=find_config(folder))
    sys.stdout.write(f"{version.version}\n")


if __name__ == "__main__":
    main()
