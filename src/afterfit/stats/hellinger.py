"""Hellinger distance: Euclidean distance of the square roots of the shares."""

from __future__ import annotations

import numpy as np

from afterfit.stats.categorical import Categorical
from afterfit.stats.cells import shares
from afterfit.stats.numeric import Numeric


def distance(reference: Numeric | Categorical, window: Numeric | Categorical) -> float:
    """In [0, 1]; 0 when one is empty.

    References:
        Hellinger (1909), Neue Begründung der Theorie quadratischer Formen von unendlichvielen Veränderlichen.

    >>> distance(Categorical.of(["a"]), Categorical.of(["b"]))
    1.0
    """
    p, q = shares(reference, window)
    return float(min(1.0, np.sqrt(np.square(np.sqrt(p) - np.sqrt(q)).sum() / 2.0)))
