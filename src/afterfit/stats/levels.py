"""Does a stretch of time deviate? A null for means of rows that share the level of their day, which has a memory and a
season.

A block's deviation from the reference is a level and the noise of its rows. How far levels spread is read from the
reference's own blocks, how long they last from their autocorrelation, and how they come back from their places in the
week or the day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

from afterfit.stats import null_tail
from afterfit.stats.binning import Floats, Ints

LAGS = 5  # of the autocorrelation that is read directly; beyond, it is taken to fade as from the first to the second
DAY, WEEK = 86_400.0, 604_800.0
OF_A_PLACE = 3  # blocks that every place of the season must have
SEASON_ALPHA = 1e-3  # chance of taking a season for one that is none
PART = 8  # evidence is added up over no more than this part of the reference: its memory is not known for longer


@dataclass(frozen=True, slots=True)
class Stretch:
    """A window, or a few in a row: the places of its blocks (moment / length of a block), and its rows."""

    places: tuple[int, ...]  # empty where the moments are not known
    blocks: float  # that it lasts, at least 1
    rows: int
    windows: int = 1
    shares: tuple[float, ...] = ()  # rows of each place; empty when they are taken as alike


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the reference's blocks lie in time."""

    places: Ints  # of each block, (B,)
    length: float  # seconds of a block
    rows: float  # of a block, on average

    def seasons(self) -> list[Ints]:
        """For a week and a day, the place of each block within it; only where the reference covers each of them often."""
        found = []
        for period in (WEEK, DAY) if self.length > 0 else ():
            parts = period / self.length
            if parts < 1.5 or abs(parts - round(parts)) > 1e-6:
                continue
            at = self.places % round(parts)
            if np.bincount(at, minlength=round(parts)).min() >= OF_A_PLACE:
                found.append(at)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """What healthy blocks did in one direction."""

    usual: Floats  # expected deviation by place of the season, (parts,); one for all without a season
    each: Floats  # blocks behind each of them, (parts,)
    left: Floats  # what the season does not explain, (B,)
    grid: Grid

    @classmethod
    def of(cls, deviations: ArrayLike, grid: Grid) -> Levels:
        """From the deviations of the blocks, shape (B,)."""
        seen = np.asarray(deviations, dtype=float)
        for at in grid.seasons():
            each = np.bincount(at).astype(float)
            usual = np.bincount(at, seen) / each
            left = seen - usual[at]
            free = seen.size - each.size
            explained = float((each * (usual - seen.mean()) ** 2).sum()) / (each.size - 1)
            noise = float((left**2).sum()) / free
            if noise > 0 and fdtrc(each.size - 1, free, explained / noise) < SEASON_ALPHA:
                return cls(usual, each, left * np.sqrt(seen.size / free), grid)
        usual = float(seen.mean()) if seen.size else 0.0
        left = (seen - usual) * np.sqrt(seen.size / max(seen.size - 1, 1))
        return cls(np.array([usual]), np.array([float(seen.size)]), left, grid)

    def expected(self, stretch: Stretch) -> float:
        """What a healthy stretch deviates by: the season, and that blocks are not as wide as all of them together."""
        return float(self._weights(stretch) @ self.usual)

    def p_value(self, deviation: float, stretch: Stretch, variance: float) -> float:
        """Two-sided chance that a healthy stretch deviates by at least that much; 0 with too few blocks to say.

        Args:
            deviation: mean over the stretch's rows, beyond what is expected.
            variance: of one row.

        References:
            Satterthwaite (1946), for the degrees of freedom; Newey, West (1987), for the variance of a mean in time.
        """
        size = self.left.size
        if size < null_tail.FEWEST:
            return 0.0
        weights = self._weights(stretch)
        squares = self.left**2
        one = max(float(squares.mean()), variance / self.grid.rows)
        if one == 0.0:
            return 1.0 if deviation == 0.0 else 0.0
        several = stretch.blocks > 1.5
        own = self._inflation(stretch.blocks) / stretch.blocks if several else 1.0
        behind = self._inflation(size) * float((weights**2 / self.each).sum())
        fewer = max(0.0, 1.0 / max(stretch.rows, 1) - 1.0 / (stretch.blocks * self.grid.rows))
        spread = one * (own + behind) + variance * fewer
        degrees = null_tail.degrees(squares, 1.0)
        p = float(fdtrc(degrees, degrees * (size / 2.0 if several else size), deviation**2 / spread))
        if several:
            return p
        share = (1 + int((squares >= deviation**2).sum())) / (size + 1)
        return share if deviation**2 <= squares.max() else min(share, p)

    def _weights(self, stretch: Stretch) -> Floats:
        """The parts that the places of the season have in a stretch, by rows; alike where its moments are not known."""
        parts = self.usual.size
        at: NDArray[np.int64] = np.array(stretch.places or range(parts), dtype=np.int64) % parts
        rows = np.array(stretch.shares or np.ones(at.size))
        return np.asarray(np.bincount(at, rows, minlength=parts) / rows.sum())

    def _inflation(self, blocks: float) -> float:
        """How much more the mean of so many blocks varies than if they were independent: the larger of what the first
        lags say, and of levels that fade at the upper limit of the first."""
        n, total = self.left.size, float((self.left**2).sum())
        lags = min(LAGS, n - 1)
        if total == 0.0:
            return 1.0
        r = np.array([float(self.left[j:] @ self.left[:-j]) / total for j in range(1, lags + 1)])
        first = float(np.clip(r[0] + (1.0 + 3.0 * max(r[0], 0.0)) / n + 1.0 / np.sqrt(n), 0.0, 0.97))
        j = np.arange(1, int(min(blocks, 10 * n)))
        fading = 1.0 + 2.0 * float(((1.0 - j / blocks) * first**j).sum())
        near = j[:lags]
        seen = 1.0 + 2.0 * float(((1.0 - near / blocks) * r[: near.size]).sum())
        return max(fading, seen, 1.0)


def together(stretches: Sequence[Stretch]) -> Stretch:
    """A few stretches in a row as one: its mean is over rows, so a day with few of them counts for little."""
    rows = sum(s.rows for s in stretches)
    return Stretch(
        tuple(p for s in stretches for p in s.places),
        sum(s.blocks for s in stretches),
        rows,
        len(stretches),
        tuple(s.rows / len(s.places) for s in stretches for _ in s.places) if rows else (),
    )
