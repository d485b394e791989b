"""How much a version's answers depend on each feature: what the loss rises by when the feature's values are shuffled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.records import ModelVersion
from afterfit.stats.losses import bounded_loss
from afterfit.tracking.scoring import ask

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2_000  # hold-out rows at most, evenly spaced
REPEATS = 2


def importance(model: Any, version: ModelVersion, X: pd.DataFrame, y: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Rise of the mean bounded loss by feature, on rows that the model was not trained on. Negative is noise about 0.

    Features that go together stand in for each other: each alone may look unimportant.

    Args:
        model: the fitted estimator.
        version: its task, classes and scale.
        X: hold-out rows.
        y: what came true, shape (n_rows,).
        seed: of the shuffling.

    Raises:
        InputError: the model fails on shuffled rows.

    References:
        Breiman (2001), Random forests; Fisher, Rudin, Dominici (2019), All models are wrong, but many are useful.
    """
    rng = np.random.default_rng(seed)
    step = -(-len(X) // ROWS)
    rows, outcome = X.iloc[::step].reset_index(drop=True), np.asarray(y)[::step]

    def loss(frame: pd.DataFrame) -> float:
        answers = ask(model, frame, version.classes)
        each = bounded_loss(
            version.task, outcome, answers.prediction, answers.scores, version.classes, version.loss_scale
        )
        return float(each.mean())

    before = loss(rows)
    found = {}
    for name in rows.columns:
        shuffled = (rows[name].iloc[rng.permutation(len(rows))].reset_index(drop=True) for _ in range(REPEATS))
        found[str(name)] = float(np.mean([loss(rows.assign(**{name: column})) for column in shuffled])) - before
    return found
