"""afterfit.toml: every wrong value is a sentence, every unknown key lists the known ones, the environment wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from afterfit.config import RetrainConfig, RolloutConfig, load, parse
from afterfit.errors import ConfigError


def model(**values: Any) -> dict[str, Any]:
    return {"models": {"m": {"task": "binary", **values}}}


def test_a_small_file_and_its_defaults() -> None:
    config = parse(model(window="1d", false_alarms="2 per 30d", train="train:fit")).model("m")
    assert (config.window, config.budget, config.budget_period) == (86400.0, 2.0, 30 * 86400.0)
    assert config.retrain == RetrainConfig()
    assert config.rollout == RolloutConfig()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"hme": "x"}, "unknown key 'hme'"),
        (model(windwo="1d"), "Did you mean 'window'"),
        (model(retrain={"cool": 1}), "[models.m.retrain] has an unknown key 'cool'"),
        (model(rollout={"canaries": []}), "Did you mean 'canary'"),
        ({"models": {"m": {}}}, "wanted one of binary, multiclass, regression"),
        ({"models": {"a b": {"task": "binary"}}}, "a model's name"),
        (model(window="7"), 'such as "30m"'),
        (model(window="0d"), "positive duration"),
        (model(train="fit"), "module:function"),
        (model(false_alarms="often"), "1 per 90d"),
        (model(retrain={"triggers": ["mood"]}), "known: performance, drift"),
        (model(retrain={"triggers": ["schedule:soon"]}), "duration"),
        (model(retrain={"min_rows": 0}), "at least 1"),
        (model(rollout={"canary": [0.5, 0.1]}), "larger than the one before"),
        (model(rollout={"canary": [2]}), "between 0 and 1"),
        (model(rollout={"canary": [0.97]}), "the share of a candidate only rises"),
        (model(rollout={"margin": 0}), "between 0 and 1"),
        (model(rollout={"alpha": 0.7}), "between 0 and 0.5"),
        (model(rollout={"on_no_data": "promote"}), "never promotes"),
        (model(rollout={"approval": "yes"}), "wanted bool"),
        ({"port": "x"}, "port number"),
        ({"notify": "mail"}, "list of texts"),
        ({"tick": 3}, "duration"),
    ],
)
def test_a_wrong_value_is_told(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    assert said in str(caught.value)


def test_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "afterfit.toml").write_text('port = 1\nhome = "a"\n', encoding="utf-8")
    config = load(tmp_path / "afterfit.toml", {"AFTERFIT_PORT": "2", "AFTERFIT_NOTIFY": "x://a,y://b"})
    assert (config.port, config.home, config.notify) == (2, tmp_path / "a", ("x://a", "y://b"))


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    (tmp_path / "afterfit.toml").write_text("[models", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "afterfit.toml")


def test_a_model_without_section_says_what_to_add() -> None:
    with pytest.raises(ConfigError, match=r"Add a section \[models.n\]"):
        parse(model()).model("n")
