"""Findings about the meaning of scores are incidents of a kind of their own, and drift that does harm is worse than drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from afterfit.config import ModelConfig, RetrainConfig
from afterfit.monitoring import budget
from afterfit.monitoring.importance import weighted
from afterfit.monitoring.incidents import QUIET, group, kind_of
from afterfit.records import Finding, Incident, Severity, Window

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def finding(column: str, check: str) -> Finding:
    return Finding(column, check, "m", 1.0, 1.0, 0.0, 0.1, True, Severity.WARNING, f"{column} {check}", 100, 100)


def after(findings: list[Finding], before: list[Incident], harm: str = "") -> list[Incident]:
    window = Window(NOW - timedelta(days=1), NOW)
    return group(findings, before, model="m", version=1, window=window, now=NOW, harm=harm)


@pytest.mark.parametrize("check", ["concept", "calibration", "sign"])
def test_what_scores_mean_is_a_kind_of_its_own(check: str) -> None:
    assert kind_of(finding("prediction", check)) == "concept"
    (opened,) = after([finding("prediction", check)], [])
    assert (opened.kind, opened.severity) == ("concept", Severity.WARNING)
    incidents = [opened]
    for _ in range(QUIET):
        incidents = after([], incidents)
    assert incidents[0].closed_at == NOW


def test_what_the_model_ignores_joins_an_incident_and_opens_none() -> None:
    ignored, matters = weighted([finding("id", "drift"), finding("temp", "drift")], {"id": 0.0, "temp": 0.1})
    assert after([ignored], []) == []
    (opened,) = after([ignored, matters], [])
    assert opened.title.startswith("temp drift")
    (continued,) = after([ignored], [opened])
    assert (continued.id, continued.quiet_windows) == (opened.id, 0)


def test_drift_that_does_harm_is_critical_and_says_so_once() -> None:
    (mild,) = after([finding("a", "drift")], [])
    assert mild.severity is Severity.WARNING
    (worse,) = after([finding("a", "drift")], [mild], harm="estimated loss 0.6, hold-out 0.4")
    assert (worse.id, worse.severity) == (mild.id, Severity.CRITICAL)
    assert worse.messages[0] == "estimated loss 0.6, hold-out 0.4"
    (again,) = after([finding("a", "drift")], [worse], harm="estimated loss 0.6, hold-out 0.4")
    assert again.messages == worse.messages
    for kind, found in (("concept", finding("prediction", "sign")), ("performance", finding("outcome", "performance"))):
        (other,) = after([found], [], harm="estimated loss 0.6, hold-out 0.4")
        assert (other.kind, other.severity is Severity.CRITICAL) == (kind, kind == "concept")


def test_the_parts_of_the_budget_are_the_budget() -> None:
    """Over one period: windows of inputs, days of meaning, and champions that follow each other after every cool-down."""
    day = 86400.0
    for window, cooldown in ((day, 20 * day), (7 * day, 7 * day)):
        config = ModelConfig("m", "binary", window=window, retrain=RetrainConfig(cooldown=cooldown), budget=0.5)
        period = config.budget_period
        spent = (
            budget.of_inputs(config) * period / window
            + budget.of_losses(config) * period / cooldown
            + budget.of_meaning(config, day) * period / day
        )
        assert spent <= config.budget * (1 + 1e-9)
    generous = ModelConfig("m", "binary", budget=1000.0)
    assert budget.of_losses(generous) == budget.MOST
