"""Permutation importance at registration: measured on the hold-out, seeded, kept with the version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from afterfit.adapters.model_folder import read_importance
from afterfit.errors import StoreError
from afterfit.tracking.draft import Draft, Labelled, draft
from afterfit.tracking.importance import ROWS, importance


def data(n: int = 3000, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["strong", "weak", "noise"])
    return X, pd.Series((2.0 * X["strong"] + 0.5 * X["weak"] + rng.normal(size=n) > 0).astype(int))


def made(model: Any, *, held: bool = True) -> Draft:
    X, y = data()
    holdout = Labelled(*data(seed=1)) if held else None
    return draft("m", model, Labelled(X, y), at=datetime(2026, 1, 1, tzinfo=UTC), holdout=holdout)


def test_what_the_model_leans_on_most_is_largest() -> None:
    found = made(LogisticRegression().fit(*data())).importance
    rise = found["rise"]
    assert found["reason"] == ""
    assert rise["strong"] > 0.1 > rise["weak"] > 0.005 > abs(rise["noise"])


def test_it_is_seeded_and_uses_so_many_rows_at_most() -> None:
    asked: list[int] = []

    class Counted(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
        def predict(self, X: Any) -> Any:
            asked.append(len(X))
            return super().predict(X)

    version = made(LogisticRegression().fit(*data())).version
    X, y = data(5 * ROWS, seed=2)
    model = Counted().fit(*data())
    found = [importance(model, version, X, y.to_numpy(), seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert max(asked) <= ROWS


def test_a_regression_and_categories_work_too() -> None:
    X, y = data()
    model = LinearRegression().fit(X, y.astype(float))
    shown = draft(
        "m",
        model,
        Labelled(X, y.astype(float)),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        holdout=Labelled(X, y.astype(float)),
    )
    assert shown.importance["rise"]["strong"] > shown.importance["rise"]["weak"]


def test_without_a_hold_out_or_where_the_model_fails_the_reason_is_kept() -> None:
    class Strict(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
        def predict_proba(self, X: Any) -> Any:
            if len(X) == ROWS - 500 and not X["strong"].equals(data(seed=1)[0]["strong"][::2].reset_index(drop=True)):
                raise RuntimeError("these rows can't be")
            return super().predict_proba(X)

    assert made(LogisticRegression().fit(*data()), held=False).importance == {
        "rise": {},
        "reason": "no hold-out to measure it on",
    }
    kept = made(Strict().fit(*data())).importance
    assert kept["rise"] == {}
    assert "these rows can't be" in kept["reason"]


def test_it_is_read_back_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    assert read_importance(tmp_path) == {}
    (tmp_path / "importance.json").write_text('{"rise": {"a": 0.25}, "reason": ""}')
    assert read_importance(tmp_path) == {"a": 0.25}
    (tmp_path / "importance.json").write_text('{"rise": 3}')
    with pytest.raises(StoreError, match="register the version again"):
        read_importance(tmp_path)
