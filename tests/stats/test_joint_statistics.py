"""Normal scores, correlations and principal components at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from afterfit.stats import correlations, pca_drift
from afterfit.stats.correlations import _fisher, _of, _variance
from afterfit.stats.normal_scores import LEVELS, MOST, normal_scores
from afterfit.stats.pca_drift import _larger


def test_scores_do_not_depend_on_the_scale_of_a_column_and_have_variance_one() -> None:
    x = np.random.default_rng(0).normal(size=(500, 2))
    plain, bent = (normal_scores({"a": v[:, 0], "b": v[:, 1]}).values for v in (x, np.exp(3.0 * x)))
    assert np.allclose(plain, bent)
    assert np.allclose(plain.mean(axis=0), 0.0)
    assert np.allclose(plain.std(axis=0), 1.0)


def test_what_hardly_varies_is_no_column_and_many_are_cut() -> None:
    rng = np.random.default_rng(1)
    rare = np.where(np.arange(200) < 4, 1.0, 0.0)
    many = np.array(list("abcdefgh") * 25, dtype=object)
    found = normal_scores({"still": np.zeros(200), "rare": rare, "null": np.full(200, np.nan), "many": many})
    assert set(found.sources) == {"many"}
    assert len(found.labels) == LEVELS
    wide = normal_scores({str(i): rng.normal(size=50) for i in range(MOST + 20)})
    assert wide.values.shape == (50, MOST)
    assert wide.left_out == 20


@pytest.mark.parametrize("r", [0.0, 0.6, 0.95])
def test_the_variance_of_fishers_z_is_that_of_many_samples(r: float) -> None:
    """400 samples tell a variance to 7 %; the bound is four times that."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(400, 200, 2))
    rows[..., 1] = r * rows[..., 0] + np.sqrt(1 - r * r) * rows[..., 1] * (1.0 + (rows[..., 0] > 1.0))
    seen = np.var([_fisher(_of(sample))[0, 1] for sample in rows])
    told = _variance(rows.reshape(-1, 2))[0, 1] / 200
    assert seen == pytest.approx(told, rel=0.28)


def test_pairs_of_one_source_and_few_rows_are_not_tested() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(100, 2))
    assert correlations.shuffled(x, x, ["a", "a"], rng) is None
    assert correlations.shuffled(x, x[:3], ["a", "b"], rng) is None
    assert correlations.beside_blocks(x, np.zeros(100, dtype=np.int64), x, ["a", "b"]) is None
    assert pca_drift.errors(x[:, :1], x[:, :1]) is None
    assert pca_drift.errors(x[:30], x) is None


def test_a_column_that_stands_still_in_the_window_has_no_correlation_there() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 1)) + 0.1 * rng.normal(size=(300, 2))
    found = correlations.shuffled(x, x[:100] * [1.0, 0.0], ["a", "b"], rng)
    assert found is not None
    assert found.now == 0.0
    assert found.p_value < 1e-3


def test_the_chance_of_a_larger_error_is_that_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(5)
    window, reference = rng.exponential(size=40).round(1), rng.exponential(size=70).round(1)
    chance, variance = _larger(window, reference)
    wanted = mannwhitneyu(window, reference, use_continuity=False, method="asymptotic")
    assert chance == pytest.approx(wanted.statistic / (40 * 70))
    assert 2.0 * norm.sf(abs(chance - 0.5) / np.sqrt(variance)) == pytest.approx(wanted.pvalue)
