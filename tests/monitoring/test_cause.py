"""`af.cause` for two classes, three, and a number: slices, features, words, the command line, and wrong questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import afterfit as af
from afterfit.cli import app
from afterfit.errors import InputError
from tests.calibration import cause_worlds as worlds

DATA = Path(__file__).parents[3] / "shared" / "data"


def pair(window: Any = worlds.concept, n: int = 3000, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    return worlds.nothing(rng, n), window(rng, n)


def at_jfk(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """At one airport of three nothing is as it was."""
    frame = worlds.flights(rng, n)
    real = worlds.chance(frame)
    return worlds.lived(rng, frame, np.where(frame["origin"] == "JFK", 1.0 - real, real))


def test_the_slice_that_carries_the_drop_is_named_first() -> None:
    old, new = pair(at_jfk)
    found = af.cause(old, new, target="late", scores="p")
    first = found.segments[0]
    assert (found.largest, first.feature, first.name) == ("concept", "origin", "JFK")
    assert first.of_drop == pytest.approx(1.0, abs=0.15)
    assert first.of_rows == pytest.approx(1 / 3, abs=0.05)
    jfk = [((f["late"] - f["p"]) ** 2)[f["origin"] == "JFK"].mean() for f in (old, new)]
    assert first.extra_loss == pytest.approx(jfk[1] - jfk[0])
    said = str(found)
    assert said.startswith("The model got worse, mainly by concept")
    assert "Where: origin=JFK: +" in said


def test_the_feature_that_shifted_is_named_first() -> None:
    old, new = pair(worlds.covariate)
    found = af.cause(old, new, target="late", scores="p")
    assert found.features[0].feature == "wind"
    assert found.features[0].value == pytest.approx(found.shares["covariate shift"].value, rel=0.3)
    assert "Shifted: wind" in str(found)
    fewer = af.cause(old, new, target="late", scores="p", features=["humid"])
    assert [f.feature for f in fewer.features] == ["humid"]


def test_the_same_seed_gives_the_same_answer_and_another_one_nearly() -> None:
    old, new = pair(worlds.concept_and_covariate)
    found = [af.cause(old, new, target="late", scores="p", seed=seed) for seed in (0, 0, 1)]
    assert found[0].to_dict() == found[1].to_dict()
    parts = [c.shares["concept"].value for c in found]
    assert parts[0] != parts[2]
    assert parts[0] == pytest.approx(parts[2], rel=0.1)


def test_rows_without_an_outcome_are_left_out_and_those_without_an_answer_are_broken() -> None:
    old, new = pair(worlds.nothing)
    new["late"] = new["late"].astype(float)
    new.loc[:99, "late"] = np.nan
    new.loc[1000:1999, "p"] = np.nan
    found = af.cause(old, new, target="late", scores="p")
    assert (found.n_current, found.unusable) == (2900, 100)
    assert found.largest == "data quality"
    assert found.shares["data quality"].share == pytest.approx(1.0, abs=0.15)


def test_three_classes() -> None:
    rng = np.random.default_rng(2)

    def draw(turned: bool) -> pd.DataFrame:
        p = rng.dirichlet([1.0, 1.0, 1.0], 2500)
        real = p[:, [1, 2, 0]] if turned else p
        y = np.array([10, 20, 30])[(rng.random((2500, 1)) > real.cumsum(axis=1)).sum(axis=1)]
        return pd.DataFrame(p, columns=["a", "b", "c"]).assign(y=y, noise=rng.normal(size=2500))

    old, new = draw(False), draw(True)
    found = af.cause(old, new, target="y", scores={10: "a", 20: "b", 30: "c"})
    assert found.largest == "concept"
    by_text = af.cause(old, new, target="y", scores={"10": "a", "20": "b", "30": "c"})  # as the command line asks
    assert by_text.to_dict() == found.to_dict()
    with pytest.raises(InputError, match="one column of scores is for two classes"):
        af.cause(old, new, target="y", scores="a")


def test_a_regression_in_its_own_unit() -> None:
    rng = np.random.default_rng(3)

    def draw(mean: float, bias: float) -> pd.DataFrame:
        x = rng.normal(mean, 1.0, 2500)
        error = (1.0 + np.exp(x)) * rng.normal(size=2500)
        return pd.DataFrame({"x": x, "answer": 10.0 * x, "y": 10.0 * x + error + bias})

    old = draw(0.0, 0.0)
    harder = af.cause(old, draw(0.8, 0.0), target="y", prediction="answer")
    assert (harder.largest, harder.loss) == ("covariate shift", "absolute error")
    assert af.cause(old, draw(0.0, 6.0), target="y", prediction="answer").largest == "concept"
    mae = np.abs(old["y"] - old["answer"]).mean()
    assert harder.reference_loss == pytest.approx(mae)


def test_a_missing_column_and_one_of_another_type_are_a_broken_feed() -> None:
    old, new = pair(worlds.nulls)
    for broken in (new.drop(columns="wind"), new.assign(wind="calm")):
        found = af.cause(old, broken, target="late", scores="p")
        assert (found.largest, found.broken[0].column, found.broken[0].of_rows) == ("data quality", "wind", 1.0)
        assert "can't be seen behind it" in str(found)


def test_parts_of_opposite_sign_are_both_told() -> None:
    """Harder rows, a third of which a world that became certain makes easy."""
    old, new = pair(worlds.covariate, 6000)
    certain = np.random.default_rng(4).random(6000) < 0.35
    new["late"] = np.where(certain, new["p"] > 0.5, new["late"]).astype(int)
    found = af.cause(old, new, target="late", scores="p")
    assert found.shares["covariate shift"].low > 0.03
    assert found.shares["concept"].high < 0.0
    if found.largest is None:
        assert "Yet covariate shift" in str(found)


def test_the_command_line_says_it_and_json_has_it_all(tmp_path: Path) -> None:
    old, new = pair()
    paths = [str(tmp_path / f"{name}.parquet") for name in ("old", "new")]
    old.assign(when=pd.Timestamp("2013-01-01")).to_parquet(paths[0])
    new.assign(when=pd.Timestamp("2013-02-01")).to_parquet(paths[1])
    said = CliRunner().invoke(app, ["cause", *paths, "--target", "late", "--scores", "p"])
    assert said.exit_code == 0
    assert said.output.startswith("The model got worse, mainly by concept")
    shown = CliRunner().invoke(app, ["cause", *paths, "--target", "late", "--scores", "p", "--json"])
    told = json.loads(shown.output)
    assert told["largest"] == "concept"
    assert sum(part["value"] for part in told["shares"].values()) == pytest.approx(told["drop"]["value"])
    assert {f["feature"] for f in told["features"]} == {"temp", "wind", "humid", "origin"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "lat"}, "target = 'lat': the reference has no such column; known: .* Did you mean 'late'"),
        ({"scores": "q"}, "scores = 'q': the reference has no such column"),
        ({"scores": None}, "wanted scores= .* or prediction="),
        ({"scores": "origin"}, "scores = 'origin' holds values such as .*; wanted numbers"),
        ({"scores": None, "prediction": "origin"}, "for a classifier give scores="),
        ({"scores": {"late": "p"}}, "wanted a column for each of two classes or more"),
        ({"scores": {"a": "p", "b": "temp"}}, "has the values .* and scores name the classes"),
        ({"features": ["wnd"]}, "features = 'wnd': .* Did you mean 'wind'"),
        ({"features": ["late"]}, "is the target or an answer"),
    ],
)
def test_wrong_questions_are_answered(change: dict[str, Any], message: str) -> None:
    old, new = pair(n=300)
    with pytest.raises(InputError, match=message):
        af.cause(old, new, **({"target": "late", "scores": "p"} | change))


def test_too_few_outcomes_are_counted() -> None:
    old, new = pair(n=300)
    with pytest.raises(
        InputError, match="300 reference rows and 40 current rows have an outcome and an answer; wanted 200"
    ):
        af.cause(old, new.head(40), target="late", scores="p")
    with pytest.raises(InputError, match="no such column"):
        af.cause(old, new.drop(columns="late"), target="late", scores="p")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data set sea.csv.gz, which is not part of the project")
def test_on_the_sea_stream_a_concept_that_changed_is_called_one() -> None:
    """It changes at rows 12,500, 25,000 and 37,500 and the features never move; the model knows rows 0 to 6,000."""
    from sklearn.linear_model import LogisticRegression

    sea = pd.read_csv(DATA / "sea.csv.gz")
    columns = ["f1", "f2", "f3"]
    model = LogisticRegression().fit(sea.loc[:5999, columns], sea.loc[:5999, "y"])
    sea["p"] = model.predict_proba(sea[columns])[:, 1]
    reference, *read = [sea[a:b] for a, b in ((6000, 9000), (9000, 12_500), (12_500, 25_000), (37_500, 50_000))]
    still, little, much = (af.cause(reference, r, target="y", scores="p", features=columns) for r in read)
    assert still.largest is None
    assert "Yet" not in str(still)
    assert "Yet the same rows turn out differently" in str(little)  # it costs 0.007, less than 3,000 rows can tell
    assert much.largest == "concept"
    assert much.shares["concept"].share == pytest.approx(1.0, abs=0.1)
