"""The demo's model, as a user would write it: gradient boosting over encoded categories and weather."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from afterfit.demo.data import CATEGORIES, FEATURES

NUMBERS = [f for f in FEATURES if f not in CATEGORIES]


def fit(X: pd.DataFrame, y: Any, sample_weight: Any = None) -> Pipeline:
    """Called by Afterfit with the training set; returns the fitted pipeline."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    pipeline = Pipeline(
        [
            ("columns", ColumnTransformer([("codes", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS)])),
            (
                "model",
                HistGradientBoostingClassifier(
                    learning_rate=0.115,
                    max_iter=70,
                    min_samples_leaf=200,
                    l2_regularization=10.0,
                    early_stopping=False,
                    random_state=0,
                ),
            ),
        ]
    )
    return pipeline.fit(X[FEATURES], y, model__sample_weight=sample_weight)


def fit_with_broken_encoder(X: pd.DataFrame, y: Any) -> Pipeline:
    """A model that was fine in the notebook and was shipped with an encoder that emits its columns in another order."""
    pipeline = fit(X, y)
    rotated = ColumnTransformer(
        [
            ("numbers", "passthrough", NUMBERS),
            ("codes", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), CATEGORIES),
        ]
    )
    return Pipeline([("columns", rotated.fit(X[FEATURES])), ("model", pipeline.named_steps["model"])])
