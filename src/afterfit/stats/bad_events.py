"""Is a bad event more likely the candidate's than its share of the traffic says? An anytime-valid test."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincc, betaln

MOST = 50.0  # weight of the prior in events; 160 candidate requests find a ten times worse candidate at 10 % share


def log_e(candidate_bad: int, champion_bad: int, share: float, strength: float | None = None) -> float:
    """Log e-value against "a bad event is the candidate's with probability at most `share`".

    Given that something went wrong, the null says the candidate was to blame as often as it was asked. The alternative
    is a beta prior around the share, cut to the part above it (one-sided).

    Args:
        candidate_bad, champion_bad: bad events so far (errors, timeouts, fallbacks, slow answers).
        share: the candidate's share of the requests, in (0, 1).
        strength: prior weight k; (a, b) = k (share, 1 - share). None: the smaller of a and b is 5, k at most 50. That
            is 50 at a share of 10 %; at 50 %, where 50 would take 21 failures in a row to say anything, it is 10.

    References:
        Lindon and Malek (2022), Anytime-valid inference for multinomial count data, arXiv 2011.03567.

    >>> log_e(0, 0, 0.1)
    0.0
    >>> bool(log_e(10, 0, 0.1) > np.log(20))
    True
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must lie in (0, 1), found {share}")
    if candidate_bad + champion_bad == 0:
        return 0.0
    k = min(MOST, 5.0 / min(share, 1.0 - share)) if strength is None else strength
    a, b = k * share, k * (1.0 - share)
    after_a, after_b = a + candidate_bad, b + champion_bad
    plain = betaln(after_a, after_b) - betaln(a, b) - candidate_bad * np.log(share) - champion_bad * np.log1p(-share)
    above_after, above_before = betaincc(after_a, after_b, share), betaincc(a, b, share)
    if above_after <= 0.0:
        return float("-inf")
    return float(plain + np.log(above_after) - np.log(above_before))
