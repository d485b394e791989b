"""Simulated rollouts through the real decision code: `lifecycle.step` and `rollout.judge`, tick by tick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterfit.config import RolloutConfig
from afterfit.lifecycle import Event, Happening, Phase, State, step
from afterfit.rollout.evidence import Evidence
from afterfit.rollout.judge import judge

TICKS_A_DAY = 4
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What the candidate really is."""

    same: bool = False  # it is the champion itself: every pair of losses is a tie
    worse: float = 0.0  # its expected excess loss
    daily: float = 0.0  # standard deviation of the excess loss that all rows of a day share
    noise: float = 0.05  # standard deviation of each model's error about the true chance
    bad_rate: float = 0.002  # chance of a bad event a request, of both
    candidate_bad_rate: float | None = None
    outcomes: bool = True  # whether outcomes ever come


def rollout(
    truth: Truth, config: RolloutConfig, rng: np.random.Generator, *, ticks: int = 24, rows: int = 300
) -> tuple[str, int]:
    """(how one rollout ended, pairs seen): confirmed, harmed, or the phase it is still in after `ticks` looks."""
    state, _ = step(
        State(Phase.VALIDATING, champion=1, history=(), candidate=2), Event("rollout", Happening.GATE_PASSED)
    )
    candidate, champion, day = np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)
    asked = bad = theirs = 0
    stage_pairs = stage_requests = candidate_keys = champion_keys = 0
    worse = truth.worse
    for tick in range(ticks):
        if truth.daily and tick % TICKS_A_DAY == 0:
            worse = truth.worse + truth.daily * rng.normal()
        a, b = _losses(truth, worse, rows, rng)
        if truth.outcomes:
            candidate, champion = np.concatenate([candidate, a]), np.concatenate([champion, b])
            day = np.concatenate([day, np.full(rows, tick // TICKS_A_DAY)])
            stage_pairs += rows
        asked += rows
        rate = truth.bad_rate if truth.candidate_bad_rate is None else truth.candidate_bad_rate
        bad += int(rng.binomial(rows, rate))
        theirs += int(rng.binomial(rows, truth.bad_rate))
        mine = int(rng.binomial(rows, state.weight))
        stage_requests += mine
        candidate_keys, champion_keys = candidate_keys + mine, champion_keys + rows - mine
        evidence = Evidence(
            candidate,
            champion,
            day,
            asked,
            asked,
            bad,
            theirs,
            stage_pairs,
            stage_requests,
            candidate_keys,
            champion_keys,
        )
        _, happening, data = judge(state, evidence, config, stage_age=tick * 21600.0)
        if happening is None:
            continue
        state, _ = step(state, Event(f"e{tick}", happening, {"version": 2, **data}))
        stage_pairs = stage_requests = candidate_keys = champion_keys = 0
        if happening in (Happening.CONFIRMED, Happening.HARMED):
            return happening.value, len(candidate)
    return state.phase.value, len(candidate)


def many(n: int, truth: Truth, seed: int, config: RolloutConfig | None = None) -> tuple[Counter[str], list[int]]:
    """Ends of n independent rollouts, and the pairs each took."""
    rng = np.random.default_rng(seed)
    ends = [rollout(truth, config or RolloutConfig(canary=(0.05, 0.25)), rng) for _ in range(n)]
    return Counter(end for end, _ in ends), [pairs for _, pairs in ends]


def _losses(truth: Truth, worse: float, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Paired Brier losses of two models that err around the true chance, each in its own way."""
    p = rng.beta(1.2, 4.0, n)
    y = rng.random(n) < p
    champion = (_guess(p, truth.noise, rng) - y) ** 2
    if truth.same:
        return champion, champion
    candidate = (_guess(p, truth.noise, rng) - y) ** 2
    return np.minimum(candidate + max(worse, 0.0), 1.0), np.minimum(champion + max(-worse, 0.0), 1.0)


def _guess(p: Floats, noise: float, rng: np.random.Generator) -> Floats:
    return np.asarray(np.clip(p + noise * rng.normal(size=len(p)), 0.0, 1.0))
