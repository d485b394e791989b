"""Hyperparameters of a model as flat names and plain values, as a person would list them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from afterfit.records import Value

LONGEST = 250  # characters of a value that is shown by its repr


def flat_params(model: Any) -> dict[str, Value]:
    """get_params() of a scikit-learn style model: plain values as they are, nested estimators by their class.

    A model without get_params() has none.

    >>> from sklearn.linear_model import LogisticRegression
    >>> flat_params(LogisticRegression(C=0.5))["C"]
    0.5
    """
    if not callable(getattr(model, "get_params", None)):
        return {}
    found: dict[str, Value] = {"estimator": type(model).__name__}
    for name, value in sorted(model.get_params(deep=True).items()):
        if value is None or isinstance(value, str | int | float | bool):
            found[name] = value
        elif hasattr(value, "get_params"):
            found[name] = type(value).__name__
        elif not _holds_estimators(value):
            found[name] = " ".join(repr(value).split())[:LONGEST]
    return found


def _holds_estimators(value: Any) -> bool:
    """Such as the `steps` of a pipeline, whose members are listed by name anyway."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        return False
    if isinstance(value, list | tuple):
        return any(hasattr(v, "get_params") or _holds_estimators(v) for v in value)
    return False
