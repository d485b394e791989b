"""Two profiled columns as values again, for tests that want samples. Exact up to the width of a bin; not the old order."""

from __future__ import annotations

import numpy as np

from afterfit.stats.binning import Floats, Ints
from afterfit.stats.categorical import Categorical, alike
from afterfit.stats.numeric import Numeric

MOST = 10_000  # values a side beyond which a sample is drawn


def weighted(reference: Numeric | Categorical, window: Numeric | Categorical) -> tuple[Floats, Ints]:
    """(values, shape (k,); how often each came in the reference and in the window, shape (2, k)).

    A number is the middle of its bin, and both columns share the bins, so that equal values stay equal; a category is its
    place among all names, commonest of the reference first (an order without meaning). Nulls and infinite values are left
    out.

    Raises:
        TypeError: a numeric column and one of text.

    >>> values, counts = weighted(Numeric.of([1.0, 1.0, 2.0]), Numeric.of([2.0, 4.0]))
    >>> counts.tolist()
    [[2, 1, 0], [0, 1, 1]]
    """
    if isinstance(reference, Numeric) and isinstance(window, Numeric):
        both = reference + window
        sides = [column.at_shift(both.shift) for column in (reference, window)]
        counts = np.zeros((2, len(both.bins)), dtype=np.int64)
        for row, column in zip(counts, sides, strict=True):
            row[np.searchsorted(both.bins, column.bins)] = column.counts
        return both.middles, counts
    if isinstance(reference, Categorical) and isinstance(window, Categorical):
        old, new = alike(reference, window)
        names = list(dict.fromkeys([*old.counts, *new.counts]))
        counts = np.array([[c.counts.get(name, 0) for name in names] for c in (old, new)], dtype=np.int64)
        return np.arange(len(names), dtype=float), counts.reshape(2, len(names))
    raise TypeError("a numeric column can't be compared with a text column")


def expanded(
    reference: Numeric | Categorical, window: Numeric | Categorical, *, seed: int = 0, most: int = MOST
) -> tuple[Floats, Floats]:
    """The sorted values of both columns; of more than `most`, so many are drawn without replacement.

    Args:
        reference, window: of one kind.
        seed: of the draw; the same seed gives the same values.
        most: values a side, 1 or more.

    Raises:
        TypeError: a numeric column and one of text.
        ValueError: most is below 1.

    >>> from scipy.stats import cramervonmises_2samp
    >>> rng = np.random.default_rng(0)
    >>> before, now = Numeric.of(rng.normal(size=50_000)), Numeric.of(rng.normal(0.3, size=800))
    >>> x, y = expanded(before, now)
    >>> (len(x), len(y)), bool(cramervonmises_2samp(x, y).pvalue < 1e-6)
    ((10000, 800), True)
    """
    if most < 1:
        raise ValueError(f"most = {most}: wanted 1 value a side or more")
    values, counts = weighted(reference, window)
    rng = np.random.default_rng(seed)
    drawn = [c if c.sum() <= most else rng.multivariate_hypergeometric(c, most) for c in counts]
    return np.repeat(values, drawn[0]), np.repeat(values, drawn[1])
