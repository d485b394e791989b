"""Can a classifier tell the window's rows from the reference's? Whatever changed, if rows can be told apart, it did.

Each fold is scored by trees that were grown on the folds before it alone. So, when nothing changed, what one fold shows
does not depend on what another shows, and the chance is exact; in cross-validation folds share their training rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import rankdata

from afterfit.stats.binning import Floats

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier

FOLDS = 3
TREES, LEAF = 40, 5
FEW = 30  # rows of each sample below which no classifier learns anything
SHUFFLES = 3  # of a column, to see how much it carries


@dataclass(frozen=True, slots=True)
class Told:
    """How well unseen rows are told apart: standardised rank sum and its p-value, the chance that a window row looks more
    like one of the window than a reference row does (AUC; 0.5: not at all), and the part that each source carries."""

    z: float
    p_value: float
    auc: float
    carried: Mapping[str, float]


def tell_apart(
    reference: Floats, window: Floats, sources: Sequence[str], rng: np.random.Generator, *, explain: float = 0.0
) -> Told | None:
    """Extremely randomised trees, which also try splits that are of no use by themselves; None with too few rows.

    Args:
        reference, window: shapes (n_reference, k) and (n_window, k), finite.
        sources: the column that each of the k comes from.
        rng: of folds and trees.
        explain: with a smaller p-value than this, `carried` is found too: the loss of AUC when a source's values are
            shuffled.

    References:
        Lopez-Paz, Oquab (2017), Revisiting classifier two-sample tests; Geurts, Ernst, Wehenkel (2006), Extremely
        randomized trees; Mann, Whitney (1947) for the test of each fold's ranks.
    """
    n, m = len(reference), len(window)
    if min(n, m) < FEW or not sources:
        return None
    rows = np.vstack([reference, window])
    new = np.arange(n + m) >= n
    fold = np.concatenate([rng.permutation(np.arange(size) % FOLDS) for size in (n, m)])
    grown = [_grown(rows[fold < f], new[fold < f], rng) for f in range(1, FOLDS)]
    tests = [(trees, rows[fold == f], new[fold == f]) for f, trees in enumerate(grown, start=1)]
    seen = [_rank_sum(_scored(trees, x), y) for trees, x, y in tests]
    z = sum(s.excess for s in seen) / max(np.sqrt(sum(s.variance for s in seen)), 1e-12)
    auc = 0.5 + sum(s.excess for s in seen) / sum(s.pairs for s in seen)
    p = float(ndtr(-z))
    carried = _carried(tests, auc, sources, rng) if p < explain else {}
    return Told(float(z), p, float(auc), carried)


@dataclass(frozen=True, slots=True)
class _RankSum:
    excess: float  # over what is expected when nothing changed
    variance: float
    pairs: float


def _grown(rows: Floats, new: NDArray[np.bool_], rng: np.random.Generator) -> ExtraTreesClassifier:
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(
        TREES, min_samples_leaf=LEAF, max_features=None, random_state=int(rng.integers(1 << 31))
    )
    return trees.fit(rows, new, sample_weight=np.where(new, 1.0 / new.sum(), 1.0 / (~new).sum()))


def _scored(trees: ExtraTreesClassifier, rows: Floats) -> Floats:
    return np.asarray(trees.predict_proba(rows)[:, 1])


def _rank_sum(scores: Floats, new: NDArray[np.bool_]) -> _RankSum:
    ranks = rankdata(scores)
    m = float(new.sum())
    n = new.size - m
    return _RankSum(
        float(ranks[new].sum()) - m * (n + m + 1.0) / 2.0, n * m / (n + m - 1.0) * float(ranks.var()), n * m
    )


def _carried(tests: Sequence[Any], auc: float, sources: Sequence[str], rng: np.random.Generator) -> dict[str, float]:
    """Parts of the whole loss of AUC, largest first; what does not matter is left out."""
    names = np.array(sources)
    lost: dict[str, float] = {}
    for name in dict.fromkeys(sources):
        excess = pairs = 0.0
        for trees, rows, new in tests:
            for _ in range(SHUFFLES):
                mixed = rows.copy()
                mixed[:, names == name] = rows[rng.permutation(len(rows))][:, names == name]
                found = _rank_sum(_scored(trees, mixed), new)
                excess, pairs = excess + found.excess, pairs + found.pairs
        lost[name] = auc - 0.5 - excess / pairs
    total = sum(v for v in lost.values() if v > 0.0)
    return {k: v / total for k, v in sorted(lost.items(), key=lambda i: -i[1]) if v > 0.0}
