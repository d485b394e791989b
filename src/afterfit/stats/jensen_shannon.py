"""Jensen-Shannon distance: the square root of the mean divergence from the half-way mixture."""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr

from afterfit.stats.categorical import Categorical
from afterfit.stats.cells import shares
from afterfit.stats.numeric import Numeric


def distance(reference: Numeric | Categorical, window: Numeric | Categorical) -> float:
    """In [0, 1]: logarithms are to base 2 (scipy and Evidently default to the natural one, whose largest is 0.83).

    0 when one is empty. It grows with the number of cells and shrinks with n: it has no threshold of its own.

    References:
        Lin (1991), Divergence measures based on the Shannon entropy.

    >>> distance(Categorical.of(["a"]), Categorical.of(["b"]))
    1.0
    """
    p, q = shares(reference, window)
    middle = (p + q) / 2.0
    divergence = (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2.0 / np.log(2.0)
    return float(np.sqrt(min(1.0, max(0.0, divergence))))
