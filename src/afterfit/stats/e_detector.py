"""When did it change? Sums of e-processes started at every moment, with a stated average run length to a false alarm."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from afterfit.stats.betting import BETS, Floats, log_wealth

__all__ = ["BETS", "of_losses", "of_p_values", "run"]
POWERS = np.array([0.1, 0.3, 0.5])  # of the p-values that are bet on


def run(increments: ArrayLike, state: Floats | None = None) -> tuple[Floats, Floats]:
    """Running log of the Shiryaev-Roberts e-detector: the mean, over bettors, of the sum of all their wealths.

    While nothing has changed, the expected sum after n observations is at most n, so the first moment at which it reaches
    A comes after A observations or more on average, and within n with a chance of at most n / A, whatever the
    distribution: alarm at ``log(A)``.

    Args:
        increments: what each observation adds to the log wealth of a bettor who was there before it, shape (k, n): the
            logs of factors whose conditional mean is at most 1 while nothing has changed.
        state: the second answer of the call before, to go on from there; shape (k,).

    Returns:
        (log of the detector after each observation, shape (n,); state, shape (k,)).

    References:
        Shin, Ramdas, Rinaldo (2024), E-detectors: a nonparametric framework for sequential change detection,
        arXiv 2203.03532.

    >>> path, _ = run(np.full((1, 3), np.log(2.0)))  # 2, 2 (2 + 1), 2 (6 + 1)
    >>> np.exp(path).round(6).tolist()
    [2.0, 6.0, 14.0]
    """
    steps = np.atleast_2d(np.asarray(increments, dtype=float))
    before = np.full(len(steps), -np.inf) if state is None else state
    if not steps.shape[1]:
        return np.empty(0), before
    total = np.cumsum(steps, axis=1)
    started = np.concatenate([np.zeros((len(steps), 1)), total[:, :-1]], axis=1)
    wealth = total + np.logaddexp.accumulate(np.concatenate([before[:, None], -started], axis=1), axis=1)[:, 1:]
    return np.logaddexp.reduce(wealth, axis=0) - np.log(len(steps)), wealth[:, -1]


def of_losses(x: ArrayLike, mean: float, side: str = "greater", state: Floats | None = None) -> tuple[Floats, Floats]:
    """The e-detector of "the mean of losses in [0, 1] has risen above `mean`" (side "less": fallen below it).

    Args:
        x: in time order, shape (n,).
        mean: in (0, 1): what is still tolerated, such as an upper bound of the loss on the hold-out.
        side: "greater" or "less".
        state: as in :func:`run`.

    >>> path, _ = of_losses([0.0] * 50 + [1.0] * 20, 0.2)
    >>> bool(path[49] < np.log(100) <= path[-1])
    True
    """
    return run(log_wealth(x, mean, side), state)


def of_p_values(p: ArrayLike, rarest: float) -> Floats:
    """Increments for :func:`run` from p-values, each valid given those before it, shape (len(POWERS), n).

    Args:
        p: in (0, 1], shape (n,).
        rarest: p-values below it count as it: what a single observation may say at most.

    References:
        Vovk, Wang (2021), E-values: calibration, combination and applications: p to k p^(k - 1) has the mean 1.

    >>> bool(run(of_p_values([0.5] * 9, 0.01))[0][-1] < np.log(9) < run(of_p_values([0.02] * 9, 0.01))[0][-1])
    True
    """
    logs = np.log(np.maximum(np.asarray(p, dtype=float), rarest))
    return np.asarray(np.log(POWERS)[:, None] + (POWERS - 1.0)[:, None] * logs[None, :])
