"""`af.estimate`: the interval holds what is realised, for two classes, three and a number; wrong questions are answered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.metrics import f1_score, roc_auc_score
from typer.testing import CliRunner

import afterfit as af
from afterfit.cli import app
from afterfit.errors import InputError


def binary(seed: int, n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    p = 1 / (1 + np.exp(-1.5 * x))
    y = np.where(rng.random(n) < p**1.3, "late", "early")
    return pd.DataFrame({"x": x, "p": p, "y": y})


def test_the_interval_holds_what_is_realised() -> None:
    """60 windows at nominal 95 %: fewer than the bound by chance once in 1e4 seeds."""
    reference = binary(0, 20_000)
    hits = {"roc_auc": 0, "f1": 0}
    for seed in range(1, 61):
        window = binary(seed, 2000)
        found = af.estimate(reference, window.drop(columns="y"), target="y", scores="p", labels=("early", "late"))
        late = (window["y"] == "late").to_numpy()
        realised = {"roc_auc": roc_auc_score(late, window["p"]), "f1": f1_score(late, window["p"] >= 0.5)}
        for name, truth in realised.items():
            low, high = found.metrics[name].low, found.metrics[name].high
            assert low is not None
            assert high is not None
            hits[name] += low <= truth <= high
    assert min(hits.values()) >= binom.ppf(1e-4, 60, 0.93)


def test_three_classes_and_a_number() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet([2.0, 2.0, 2.0], 5000)
    truth = np.array(["a", "b", "c"])[(rng.random((5000, 1)) > p.cumsum(axis=1)).sum(axis=1)]
    frame = pd.DataFrame(p, columns=["pa", "pb", "pc"]).assign(y=truth)
    scores = {"a": "pa", "b": "pb", "c": "pc"}
    found = af.estimate(frame[:3000], frame[3000:].drop(columns="y"), target="y", scores=scores, metric="accuracy")
    realised = (np.array(["a", "b", "c"])[p[3000:].argmax(axis=1)] == truth[3000:]).mean()
    assert found.low is not None
    assert found.high is not None
    assert found.low <= realised <= found.high
    x = rng.random(5000)
    rows = pd.DataFrame({"x": x, "answer": 2 * x, "y": 2 * x + (0.1 + x) * rng.normal(size=5000)})
    got = af.estimate(rows[:3000], rows[3000:].drop(columns="y"), target="y", prediction="answer")
    assert got.metric == "mae"
    assert got.low is not None
    assert got.high is not None
    assert got.low <= (rows["y"] - rows["answer"])[3000:].abs().mean() <= got.high


def test_covariate_shift_can_be_weighed() -> None:
    reference, window = binary(2, 20_000), binary(3, 20_000)
    window = window[window["x"] + np.random.default_rng(4).normal(size=len(window)) > 0.5]
    found = af.estimate(
        reference, window.drop(columns="y"), target="y", scores="p", labels=("early", "late"), reweight=True
    )
    assert found.low is not None
    assert found.high is not None
    assert found.low <= roc_auc_score(window["y"] == "late", window["p"]) <= found.high


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "auc"}, "roc_auc"),
        ({"scores": "q"}, "no such column"),
        ({"target": "z"}, "no such column"),
        ({"scores": None}, "wanted scores"),
        ({"level": 95}, "between 0 and 1"),
    ],
)
def test_wrong_questions_are_answered(change: dict[str, object], said: str) -> None:
    asked = {"target": "y", "scores": "p", "labels": ("early", "late")} | change
    with pytest.raises(InputError, match=said):
        af.estimate(binary(0), binary(1).drop(columns="y"), **asked)  # type: ignore[arg-type]


def test_a_reference_of_one_class_or_few_rows_is_refused() -> None:
    with pytest.raises(InputError, match="can't be learned from"):
        af.estimate(binary(0, 50), binary(1), target="y", scores="p")
    with pytest.raises(InputError, match="two classes"):
        af.estimate(binary(0).assign(y="late"), binary(1), target="y", scores="p")


def test_the_command(tmp_path: Path) -> None:
    binary(0).to_parquet(tmp_path / "old.parquet")
    binary(1).drop(columns="y").to_csv(tmp_path / "new.csv", index=False)
    paths = [str(tmp_path / "old.parquet"), str(tmp_path / "new.csv")]
    result = CliRunner().invoke(app, ["estimate", *paths, "--target", "y", "--scores", "p", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metric"] == "roc_auc"
    result = CliRunner().invoke(app, ["estimate", *paths, "--target", "y", "--scores", "p"])
    assert "blind to concept drift" in result.stdout
