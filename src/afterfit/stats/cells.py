"""The cells in which two columns are compared: every bin or category that either has, and their shares in both."""

from __future__ import annotations

import numpy as np

from afterfit.stats.binning import Floats
from afterfit.stats.categorical import Categorical, alike
from afterfit.stats.numeric import Numeric


def shares(reference: Numeric | Categorical, window: Numeric | Categorical) -> Floats:
    """Shares of the values, shape (2, k), each row adding up to 1; (2, 0) when one of them is empty.

    Categories that only the window has are cells as well, so the distances stay finite and see them.

    Raises:
        TypeError: a numeric column and one of text.

    >>> shares(Categorical.of(["a", "b"]), Categorical.of(["a", "c"])).tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]
    """
    if not reference.values or not window.values:
        return np.empty((2, 0))
    if isinstance(reference, Numeric) and isinstance(window, Numeric):
        a, b = reference.at_shift(window.shift), window.at_shift(reference.shift)
        bins = np.union1d(a.bins, b.bins)
        cells = np.zeros((2, len(bins)))
        for row, column in enumerate((a, b)):
            cells[row, np.searchsorted(bins, column.bins)] = column.counts
    elif isinstance(reference, Categorical) and isinstance(window, Categorical):
        old, new = alike(reference, window)
        names = list(dict.fromkeys([*old.counts, *new.counts]))
        cells = np.array([[float(c.counts.get(name, 0)) for name in names] for c in (old, new)])
    else:
        raise TypeError("a numeric column can't be compared with a text column")
    return np.asarray(cells / cells.sum(axis=1, keepdims=True))
