"""Parts of a drop add up, their bounds hold the truth, and what can't be told is not told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from afterfit.stats.cause import CONCEPT, COVARIATE, LABEL, QUALITY, UNDECIDED, Samples, explain
from afterfit.stats.cause_label import by_label
from afterfit.stats.cause_mean import weighted
from afterfit.stats.cause_shared import shared
from afterfit.stats.cause_slices import slices


def samples(seed: int, *, shift: float = 0.0, flip: float = 0.0, n: int = 1500) -> Samples:
    """x ~ N(0, 1), in the window N(shift, 1); p = expit(x - 1), in the window expit((1 - flip) x - 1)."""
    rng = np.random.default_rng(seed)
    now = np.repeat([False, True], n)
    x = rng.normal(size=2 * n) + shift * now
    answer = expit(x - 1.0)
    y = rng.random(2 * n) < expit((1.0 - flip * now) * x - 1.0)
    member = expit(shift * x - shift**2 / 2.0)
    return Samples(
        (y - answer) ** 2, now, member, y.astype(int), (y - answer)[:, None], answer[:, None], np.zeros(2 * n)
    )


def truth(shift: float, flip: float) -> tuple[float, float]:
    """(covariate, concept) by numerical integration."""
    x = np.linspace(-9.0, 9.0, 20_001)
    p, q = np.exp(-(x**2) / 2.0), np.exp(-((x - shift) ** 2) / 2.0)
    answer = expit(x - 1.0)

    def cost(real: np.ndarray) -> np.ndarray:
        found: np.ndarray = real * (1.0 - answer) ** 2 + (1.0 - real) * answer**2
        return found

    before, after = cost(answer), cost(expit((1.0 - flip) * x - 1.0))
    both = p * q / (p + q)
    concept = np.average(after - before, weights=both)
    return float(np.average(after, weights=q) - np.average(before, weights=p) - concept), float(concept)


@pytest.mark.parametrize(("shift", "flip"), [(0.7, 0.0), (0.0, 1.5), (0.5, 1.0)])
def test_the_bounds_hold_the_truth(shift: float, flip: float) -> None:
    """200 worlds at nominal 95 %: outside of 0.905 to 0.985 with a chance of 1e-3 at most for a coverage of 95 %."""
    wanted = dict(zip((COVARIATE, CONCEPT), truth(shift, flip), strict=True))
    held = {COVARIATE: 0, CONCEPT: 0}
    for seed in range(200):
        rows = samples(seed, shift=shift, flip=flip)
        now = np.asarray(rows.is_window, dtype=float)
        split = shared(rows.losses, 1.0 - now, now, rows.membership, rows.residuals)
        for name, mean in ((COVARIATE, split.covariate), (CONCEPT, split.concept)):
            low, high = mean.interval(0.95)
            held[name] += low - 1e-12 <= wanted[name] <= high + 1e-12
    least, most = binom.ppf(1e-3, 200, 0.95), binom.isf(1e-3, 200, 0.95)
    assert least <= held[CONCEPT] <= most
    assert held[COVARIATE] >= least  # surely 0 without a shift


def test_parts_add_up_and_the_level_widens_bounds() -> None:
    rows = samples(1, shift=0.5, flip=1.0)
    found, wide = explain(rows), explain(rows, 0.99)
    assert sum(p.value for p in found.parts.values()) == pytest.approx(found.drop.value, abs=1e-12)
    assert found.parts[CONCEPT].low > wide.parts[CONCEPT].low
    assert found.drop.share == pytest.approx(1.0)


def test_strangers_can_not_be_compared() -> None:
    found = explain(samples(2, shift=6.0, flip=1.0))
    assert found.reading == "undecided"
    assert found.largest == UNDECIDED
    assert "wanted 100 and 5%" in found.reason
    assert found.parts[CONCEPT].value == 0.0


def test_two_readings_that_fit_both_are_undecided() -> None:
    """Features that say all about the outcome: other rows and other outcomes are one and the same."""
    rng = np.random.default_rng(3)
    now = np.repeat([False, True], 2000)
    y = (rng.random(4000) < np.where(now, 0.6, 0.3)).astype(int)
    answer = np.where(y == 1, 0.6, 0.1)
    member = np.where(y == 1, 0.6 / 0.9, 0.4 / 1.1)
    rows = Samples((y - answer) ** 2, now, member, y, (y - answer)[:, None], answer[:, None], np.zeros(4000))
    found = explain(rows)
    assert found.largest == UNDECIDED
    assert "equally well" in found.reason
    assert found.parts[UNDECIDED].value == pytest.approx(found.drop.value)


def test_rows_that_are_broken_all_leave_no_concept() -> None:
    rows = samples(4, flip=1.5)
    found = explain(replace(rows, broken=np.asarray(rows.is_window, dtype=float)))
    assert found.largest == QUALITY
    assert "can't be seen" in found.reason


def test_an_outcome_that_the_reference_never_had_rules_label_shift_out() -> None:
    rows = samples(5)
    labels = np.where(np.asarray(rows.is_window) & (np.arange(3000) % 10 == 0), 2, rows.labels)
    now = np.asarray(rows.is_window, dtype=float)
    assert by_label(rows.losses, 1.0 - now, now, labels, rows.answers) is None
    found = explain(replace(rows, labels=labels))
    assert "outcome first" not in found.fits
    assert found.parts[LABEL].value == 0.0


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="150 reference and 150 window rows, wanted 200"):
        explain(samples(6, n=150))


def test_products_of_means_know_their_error() -> None:
    """Against 4,000 repetitions: the ratio of both standard deviations is off by 3.7 % (one in 400 rows), 15 % is four of them."""
    rng = np.random.default_rng(7)
    one = np.ones(400)
    found = [weighted(rng.normal(2.0, 1.0, 400), one) * weighted(rng.normal(3.0, 2.0, 400), one) for _ in range(4000)]
    assert float(np.std([m.value[0] for m in found])) == pytest.approx(found[0].error, rel=0.15)


def test_slices_that_all_change_alike_are_not_named() -> None:
    """40 worlds at a level of 0.01 for all slices together: more than 4 name one with a chance below 1e-3."""
    false = 0
    for seed in range(40):
        rng = np.random.default_rng([8, seed])
        codes, now = rng.integers(0, 5, 4000), np.repeat([0.0, 1.0], 2000)
        losses = rng.random(4000) + 0.2 * now
        false += bool(slices(losses, 1.0 - now, now, codes, 5))
    assert false <= binom.isf(1e-3, 40, 0.02)
