"""The judge: harm, invalid, not yet, pass, and what each leads to. Simulated promises are in tests/calibration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterfit.config import RolloutConfig
from afterfit.lifecycle import Event, Happening, Phase, State, step
from afterfit.records import Outlook
from afterfit.rollout.evidence import Evidence
from afterfit.rollout.judge import judge

CONFIG = RolloutConfig(canary=(0.05, 0.25), min_pairs=200, min_requests=50, margin=0.01)
SHADOW = State(Phase.SHADOW, champion=1, candidate=2, rollout="r")
CANARY = replace(SHADOW, phase=Phase.CANARY, weight=0.05, stage=1)
PROVISIONAL = replace(SHADOW, phase=Phase.PROVISIONAL, weight=0.95, stage=2)


def evidence(
    n: int = 3000, worse: float = 0.0, noise: float = 0.05, days: int = 6, daily: float = 0.0, **more: Any
) -> Evidence:
    """Pairs spread over days; `daily` is the deviation of a day's own difference."""
    rng = np.random.default_rng(n + days)
    day = np.sort(rng.integers(0, days, n)).astype(np.int64)
    champion = rng.uniform(0.3, 0.5, n)
    luck = rng.normal(size=days)
    shared = daily * (luck - luck.mean())[day]
    candidate = np.clip(champion + worse + shared + noise * rng.normal(size=n), 0, 1)
    counts = {
        "candidate_asked": n, "champion_asked": n, "stage_pairs": n, "stage_requests": 100,
        "candidate_keys": 100, "champion_keys": 1900, **more,
    }  # fmt: skip
    return Evidence(candidate, champion, day, **counts)


NOTHING = Evidence(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))


@pytest.mark.parametrize(
    ("state", "config", "happening", "weight"),
    [
        (SHADOW, CONFIG, Happening.SHADOW_PASSED, 0.05),
        (CANARY, CONFIG, Happening.STEP_PASSED, 0.25),
        (replace(CANARY, weight=0.25, stage=2), CONFIG, Happening.LAST_STEP_PASSED, 0.95),
        (replace(CANARY, weight=0.25, stage=2), replace(CONFIG, holdback=0.2), Happening.LAST_STEP_PASSED, 0.8),
        (SHADOW, replace(CONFIG, canary=()), Happening.LAST_STEP_PASSED, 0.95),
        (PROVISIONAL, CONFIG, Happening.CONFIRMED, None),
    ],
)
def test_an_equal_candidate_moves_on(
    state: State, config: RolloutConfig, happening: Happening, weight: float | None
) -> None:
    keys = {"candidate_keys": round(2000 * state.weight), "champion_keys": 2000 - round(2000 * state.weight)}
    verdict, found, data = judge(state, evidence(**keys), config, stage_age=0.0)
    assert (verdict.outlook, found, data.get("weight")) == (Outlook.PASS, happening, weight)
    assert "3,000 paired rows" in verdict.reasons[0]
    step(state, Event("e", happening, {"version": 2, **data}))  # the table knows this way


def test_a_fast_track_goes_on_from_where_it_began() -> None:
    """Its weight need not be one of the configured steps, and a ramp only rises."""
    for weight, wanted in ((0.1, 0.25), (0.5, 0.95)):
        state = replace(CANARY, weight=weight)
        keys = {"candidate_keys": round(2000 * weight), "champion_keys": 2000 - round(2000 * weight)}
        _, happening, data = judge(state, evidence(**keys), CONFIG, stage_age=0.0)
        assert happening is not None
        assert data["weight"] == wanted
        assert step(state, Event("e", happening, {"version": 2, **data}))[0].weight == wanted


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        (SHADOW, {"stage_pairs": 199}, "199 of 200"),
        (CANARY, {"stage_requests": 49}, "49 of 50"),
        (PROVISIONAL, {"stage_pairs": 3, "candidate_keys": 1900, "champion_keys": 100}, "3 of 200"),
        (SHADOW, {"n": 250, "noise": 0.3, "days": 2}, "more pairs like these"),
        (SHADOW, {"worse": 0.012, "noise": 0.3}, "makes it pass"),
    ],
)
def test_not_yet_says_what_is_missing(state: State, changes: dict[str, Any], said: str) -> None:
    verdict, happening, _ = judge(state, evidence(**changes), CONFIG, stage_age=0.0)
    assert (verdict.outlook, happening) == (Outlook.UNDECIDED, None)
    assert said in " ".join(verdict.reasons)


def test_shadow_needs_no_requests_of_its_own() -> None:
    assert judge(SHADOW, evidence(stage_requests=0), CONFIG, stage_age=0.0)[1] is Happening.SHADOW_PASSED


@pytest.mark.parametrize("state", [SHADOW, CANARY, PROVISIONAL])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 400, "worse": 0.12, "days": 1}, "far worse"),  # at once
        ({"n": 40_000, "worse": 0.035, "days": 40}, "day after day"),
        ({"candidate_bad": 12, "champion_bad": 0}, "failed on 12 of 3,000"),
    ],
)
def test_harm_ends_a_rollout(state: State, changes: dict[str, Any], said: str) -> None:
    verdict, happening, _ = judge(state, evidence(**changes), CONFIG, stage_age=0.0)
    assert (verdict.outlook, happening) == (Outlook.HARM, Happening.HARMED)
    assert said in verdict.reasons[0]


def test_a_bad_day_is_not_harm() -> None:
    """One day that is 0.03 worse on 2 000 rows: beyond doubt on that day, and no reason to go back."""
    verdict, happening, _ = judge(SHADOW, evidence(2000, worse=0.03, days=1), CONFIG, stage_age=0.0)
    assert (verdict.outlook, happening) == (Outlook.UNDECIDED, None)
    better = judge(SHADOW, evidence(12_000, worse=-0.005, daily=0.02, days=12), CONFIG, stage_age=0.0)
    assert better[1] is Happening.SHADOW_PASSED


def test_as_many_failures_of_the_champion_are_no_harm() -> None:
    found = judge(SHADOW, evidence(candidate_bad=30, champion_bad=30), CONFIG, stage_age=0.0)
    assert found[1] is Happening.SHADOW_PASSED


def test_a_wrong_sample_ratio_holds() -> None:
    skewed = evidence(candidate_keys=600, champion_keys=1400)
    verdict, happening, _ = judge(CANARY, skewed, CONFIG, stage_age=0.0)
    assert (verdict.outlook, happening) == (Outlook.INVALID, None)
    assert "600 of 2,000 keys" in verdict.reasons[0].replace("2000", "2,000")
    assert judge(CANARY, skewed, CONFIG, stage_age=CONFIG.deadline)[1] is Happening.HELD


def test_a_person_is_waited_for() -> None:
    config, last = replace(CONFIG, approval=True), replace(CANARY, weight=0.25, stage=2)
    ready = evidence(candidate_keys=500, champion_keys=1500)
    verdict, happening, _ = judge(last, ready, config, stage_age=1e9)
    assert (verdict.outlook, happening) == (Outlook.PASS, None)
    assert "approve" in " ".join(verdict.reasons)
    assert judge(replace(last, approved=True), ready, config, stage_age=0.0)[1] is Happening.LAST_STEP_PASSED
    assert judge(CANARY, evidence(), config, stage_age=0.0)[1] is Happening.STEP_PASSED  # only the last step waits


@pytest.mark.parametrize(("on_no_data", "wanted"), [("hold", Happening.HELD), ("rollback", Happening.HARMED)])
@pytest.mark.parametrize("state", [SHADOW, CANARY, PROVISIONAL])
def test_the_deadline_speaks_only_where_there_is_no_verdict(state: State, on_no_data: str, wanted: Happening) -> None:
    config = replace(CONFIG, on_no_data=on_no_data)
    verdict, happening, _ = judge(state, NOTHING, config, stage_age=config.deadline)
    assert (verdict.outlook, happening) == (Outlook.NO_DATA, wanted)
    assert "no verdict within 14 days" in verdict.reasons[0]
    assert judge(state, NOTHING, config, stage_age=config.deadline - 1.0)[1] is None
    assert judge(SHADOW, evidence(), config, stage_age=config.deadline)[1] is Happening.SHADOW_PASSED


@given(
    asked=st.integers(0, 10_000),
    requests=st.integers(0, 10_000),
    age=st.floats(0, 1e8),
    state=st.sampled_from([SHADOW, CANARY, PROVISIONAL]),
)
def test_without_pairs_nothing_passes(asked: int, requests: int, age: float, state: State) -> None:
    found = replace(NOTHING, candidate_asked=asked, champion_asked=asked, stage_requests=requests)
    verdict, happening, _ = judge(state, found, CONFIG, stage_age=age)
    assert verdict.outlook is Outlook.NO_DATA
    assert happening in (None, Happening.HELD)


def test_margin_and_alpha_matter() -> None:
    close = evidence(900, noise=0.1)
    assert judge(SHADOW, close, replace(CONFIG, margin=0.03), stage_age=0.0)[1] is Happening.SHADOW_PASSED
    assert judge(SHADOW, close, replace(CONFIG, margin=0.002), stage_age=0.0)[1] is None
    some = evidence(candidate_bad=12, champion_bad=0)
    assert judge(SHADOW, some, replace(CONFIG, alpha=0.2), stage_age=0.0)[1] is Happening.HARMED
    assert judge(SHADOW, some, replace(CONFIG, alpha=0.001), stage_age=0.0)[1] is not Happening.HARMED
