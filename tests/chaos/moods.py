"""A model that does what a file says, so that one gateway can meet every trouble in turn."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

DEADLY, ODD = 666.0, 999.0  # values of `a` that kill the process, and that the model refuses
CALM = ""


class Troubled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A logistic regression in a worker process, in the mood that is written in a file."""

    def __init__(self, file: str = "", bias: float = 0.0) -> None:
        self.file = file
        self.bias = bias

    def fit(self, X: Any, y: Any) -> Troubled:
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Loading may take its time."""
        mood = _mood(state["file"])
        if mood.startswith("load "):
            time.sleep(float(mood.split()[1]))
        self.__dict__.update(state)

    def predict_proba(self, X: Any) -> Any:
        told, scores = set(X["a"]), self.model_.predict_proba(X)
        if DEADLY in told:
            os.kill(os.getpid(), signal.SIGKILL)
        if ODD in told:
            raise RuntimeError("out of luck")
        match _mood(self.file).split():
            case ["crash"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["nan"]:
                return np.full_like(scores, np.nan)
            case ["shape"]:
                return scores[:, :1]
            case ["leak"]:
                self._leaked = getattr(self, "_leaked", [])
                self._leaked.append(np.ones(2**22))  # 32 MB that stay
        return scores

    def predict(self, X: Any) -> Any:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _mood(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii")
    except OSError:
        return CALM
