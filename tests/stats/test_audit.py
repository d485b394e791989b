"""The self-audit: right estimators pass, wrong ones are found, and outcomes correct what was expected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from afterfit.stats.audit import audit, blend
from afterfit.stats.score_bins import Floats


def history(
    rng: np.random.Generator, n: int, bias: float = 0.0, spread: float = 1.0
) -> tuple[Floats, Floats, Floats, Floats]:
    """Estimates with an interval of +-1.96 for errors of this bias and spread."""
    truth = rng.normal(size=n)
    estimate = truth + bias + spread * rng.normal(size=n)
    return estimate, estimate - 1.96, estimate + 1.96, truth


def test_a_right_estimator_is_downgraded_rarely() -> None:
    """At most 2 alpha = 2 % of 1000; more than 38 happen with a chance below 1e-4 (binomial)."""
    rng = np.random.default_rng(0)
    wrong = sum(audit(*history(rng, 30)).downgraded for _ in range(1000))
    assert wrong <= binom.isf(1e-4, 1000, 0.02)


@pytest.mark.parametrize(("bias", "spread", "word"), [(0.0, 2.0, "intervals held"), (1.5, 0.7, "biased by +1.")])
def test_a_wrong_estimator_is_found(bias: float, spread: float, word: str) -> None:
    rng = np.random.default_rng(1)
    reports = [audit(*history(rng, 40, bias, spread)) for _ in range(50)]
    found = [r for r in reports if r.downgraded and word in r.reason]
    assert len(found) >= 45


def test_a_tiny_bias_is_tolerated_and_a_larger_one_is_not() -> None:
    """0.1 half widths cost no coverage worth a word, however sure we are of them."""
    rng = np.random.default_rng(2)
    assert not audit(*history(rng, 2000, 0.2, 0.9)).downgraded
    assert audit(*history(rng, 2000, 0.9, 0.6)).downgraded


def test_the_figures_of_the_report() -> None:
    report = audit([1.0, 2.0, 3.0, np.nan], [0.0, 1.0, 2.5, 0.0], [2.0, 3.0, 3.5, 1.0], [0.5, 2.5, 9.0, 1.0])
    assert (report.windows, report.covered) == (3, 2)
    assert report.coverage == pytest.approx(2 / 3)
    assert report.mean_error == pytest.approx((0.5 - 0.5 - 6.0) / 3)
    assert report.p_value == pytest.approx(binom.cdf(2, 3, 0.95))
    assert not report.downgraded
    assert audit([1.0] * 4, [0.9] * 4, [1.1] * 4, [0.0] * 4).downgraded  # 0 of 4: 6e-6
    assert not audit([1.0], [0.9], [1.1], [0.0], alpha=0.01).downgraded  # 0 of 1 is 5 %
    assert audit([1.0], [0.9], [1.1], [0.0], alpha=0.1).downgraded
    assert not audit([1.0] * 3, [0.9] * 3, [1.1] * 3, [0.0] * 3, nominal=0.5).downgraded
    empty = audit([], [], [], [])
    assert (empty.windows, empty.coverage, empty.reason) == (0, None, "no window has matured")


def test_what_an_audit_refuses() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        audit([1.0], [0.0], [2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="must lie in"):
        audit([1.0], [0.0], [2.0], [1.0], nominal=1.0)


@pytest.mark.parametrize("lie", [0.0, 0.3])
def test_the_blend_covers_however_wrong_the_expectation_is(lie: float) -> None:
    """Nominal 95 %, 600 times; fewer than 547 covered happen with a chance below 1e-3 at a true coverage of 94.5 %."""
    rng = np.random.default_rng(3)
    covered, shorter = 0, []
    for _ in range(600):
        p = rng.random(2200) ** 2
        y = (rng.random(2200) < p).astype(float)
        f = np.clip(p + lie * rng.random(2200), 0.0, 1.0)
        found = blend(y[:200], f[:200], f[200:])
        plain = blend(y[:200], f[:200], [])
        assert found.low is not None
        assert found.high is not None
        assert plain.low is not None
        assert plain.high is not None
        covered += found.low <= 1 / 3 <= found.high
        shorter.append((found.high - found.low) / (plain.high - plain.low))
    assert covered >= binom.isf(1 - 1e-3, 600, 0.945) - 1
    assert np.mean(shorter) < 0.9


def test_a_useless_expectation_costs_nothing() -> None:
    rng = np.random.default_rng(4)
    y = (rng.random(500) < 0.3).astype(float)
    found = blend(y, rng.random(500), rng.random(5000))
    assert found.trust < 0.15
    assert found.value == pytest.approx(y.mean(), abs=0.005)
    assert blend(y, np.full(500, 0.9), np.full(5000, 0.1)).value == y.mean()
    assert blend(y, y, np.zeros(10)).trust == 0.0  # a rest of ten rows is none


def test_level_and_refusals_of_the_blend() -> None:
    rng = np.random.default_rng(5)
    y, f, rest = rng.random(100), rng.random(100), rng.random(1000)
    narrow, wide = blend(y, f, rest, 0.8), blend(y, f, rest, 0.99)
    assert narrow.value == wide.value
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < narrow.low
    few = blend(y[:29], f[:29], rest)
    assert (few.value, few.reason) == (None, "29 outcomes are known, wanted 30")
    rare = np.zeros(100)
    rare[:4] = 1.0
    assert blend(rare, f, rest).reason == "all but 4 of 100 known rows are alike, wanted 5 others"
    rare[4] = 1.0
    assert blend(rare, f, rest).value is not None
    with pytest.raises(ValueError, match="must agree"):
        blend(y, f[:-1], rest)
    with pytest.raises(ValueError, match="must agree"):
        blend(y, f, [np.nan])
    with pytest.raises(ValueError, match="level"):
        blend(y, f, rest, 0.0)
