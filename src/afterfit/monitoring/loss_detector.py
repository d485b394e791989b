"""Has the mean loss risen? The e-detector fed one loss at a time, behind :class:`afterfit.ports.StreamDetector`."""

from __future__ import annotations

import math

from afterfit.errors import InputError
from afterfit.stats import e_detector
from afterfit.stats.binning import Floats


class LossDetector:
    """Alarms when the mean of losses in [0, 1] lies above `mean`, with a stated run length to a false alarm.

    While the conditional mean is at most `mean`, the first alarm comes after `run_length` losses or more on average. It reads
    losses alone: :class:`afterfit.stats.concept.Concept`, which also reads the rows they come from, sees much smaller
    changes of the relation.

    Args:
        mean: what is still tolerated, in (0, 1), such as an upper bound of the loss on the hold-out.
        run_length: in losses, above 1.

    Raises:
        InputError: an argument out of its range.

    References:
        Shin, Ramdas, Rinaldo (2024), E-detectors, arXiv 2203.03532; see :func:`afterfit.stats.e_detector.of_losses`.

    >>> watch = LossDetector(0.2, run_length=1000)
    >>> for loss in [0.0] * 50 + [1.0] * 12:
    ...     watch.update(loss)
    >>> watch.alarm
    True
    """

    def __init__(self, mean: float, run_length: float) -> None:
        if not 0.0 < mean < 1.0:
            raise InputError(f"mean = {mean!r}: wanted a loss between 0 and 1")
        if not run_length > 1.0:
            raise InputError(f"run_length = {run_length!r}: wanted a number of losses above 1, such as 20000")
        self.mean, self.run_length = mean, run_length
        self.log_e = -math.inf  # highest log of the detector so far
        self._state: Floats | None = None

    @property
    def alarm(self) -> bool:
        """Whether the detector reached log(run_length) since the last reset."""
        return self.log_e >= math.log(self.run_length)

    def update(self, value: float) -> None:
        """Take the next loss, in [0, 1]."""
        if not 0.0 <= value <= 1.0:
            raise InputError(f"wanted a loss between 0 and 1, found {value!r}; divide a bounded loss by its bound")
        path, self._state = e_detector.of_losses([value], self.mean, state=self._state)
        self.log_e = max(self.log_e, float(path[0]))

    def reset(self) -> None:
        """Forget everything that was seen."""
        self.log_e, self._state = -math.inf, None
