"""How far the shares of a text column's categories moved: means over rows, as :mod:`afterfit.stats.smooth` has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from afterfit.stats import tilt
from afterfit.stats.binning import Floats
from afterfit.stats.categorical import Categorical, alike
from afterfit.stats.chi2 import RARE

MOST = 12  # categories that are looked at one by one


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """The most frequent categories of a reference that has values."""

    reference: Categorical
    names: tuple[str, ...]
    usual: Floats  # (len(names),)

    @classmethod
    def of(cls, reference: Categorical) -> Shares:
        """The categories of at least RARE, at most MOST of them; of two that are all there is, one says everything, and
        of one alone nothing is to be said."""
        ordered = sorted(reference.counts.items(), key=lambda item: (-item[1], item[0]))
        names = [k for k, v in ordered if v >= RARE * reference.values][:MOST]
        if len(names) == len(ordered) <= 2:
            names = names[:-1]
        return cls(reference, tuple(names), np.array([reference.counts[k] / reference.values for k in names]))

    @property
    def variances(self) -> Floats:
        """Of one row, shape of `names`."""
        return self.usual * (1.0 - self.usual)

    def rows(self, window: Categorical) -> int:
        """Rows of a window with a category that the reference knows; others are left to the `unseen` check."""
        mine, window = alike(self.reference, window)
        return sum(v for k, v in window.counts.items() if k in mine.counts)

    def deviations(self, window: Categorical) -> Floats:
        """Share in the window less that in the reference, shape of `names`.

        >>> found = Shares.of(Categorical.of(["a", "b"] * 5))
        >>> found.names, found.deviations(Categorical.of(["a", "a", "a", "b"])).tolist()
        (('a',), [0.25])
        """
        rows = self.rows(window)
        if not rows:
            return np.zeros(len(self.names))
        if window.folded and not self.reference.folded:
            return Shares(*self._folded()).deviations(window)
        _, window = alike(self.reference, window)
        return np.array([window.counts.get(k, 0) / rows for k in self.names]) - self.usual

    def p_values(self, deviations: Floats, rows: float) -> Floats:
        """Two-sided chance of each for independent rows, shape of `names`."""
        return tilt.share_p_value((self.usual + deviations) * rows, rows, self.usual)

    def _folded(self) -> tuple[Categorical, tuple[str, ...], Floats]:
        """The same categories by the hash values that they share with others."""
        folded = self.reference.fold()
        names = tuple(next(iter(Categorical.counted({k: 1}).fold().counts)) for k in self.names)
        return folded, names, np.array([folded.counts[k] / folded.values for k in names])
