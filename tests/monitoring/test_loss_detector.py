"""Our detector of losses keeps the laws of a stream detector, and does what its e-detector does."""

from __future__ import annotations

import numpy as np
import pytest

from afterfit.errors import InputError
from afterfit.monitoring.loss_detector import LossDetector
from afterfit.ports import StreamDetector
from afterfit.stats import e_detector
from afterfit.testing.stream_detector import StreamDetectorLaws


class TestLossDetector(StreamDetectorLaws):
    def make(self) -> LossDetector:
        return LossDetector(0.2, run_length=20_000)


def test_one_by_one_is_what_all_at_once_is() -> None:
    losses = np.random.default_rng(0).random(500)
    watch = LossDetector(0.45, run_length=100)
    for loss in losses:
        watch.update(loss)
    assert watch.log_e == pytest.approx(e_detector.of_losses(losses, 0.45)[0].max())


def test_both_arguments_matter() -> None:
    found = []
    for mean, run_length in ((0.2, 100), (0.2, 1e30), (0.6, 100)):
        watch = LossDetector(mean, run_length)
        for loss in [0.0] * 20 + [0.5] * 30:
            watch.update(loss)
        found.append(watch.alarm)
    assert found == [True, False, False]


@pytest.mark.parametrize(("mean", "run_length"), [(0.0, 100), (1.0, 100), (float("nan"), 100), (0.2, 1.0)])
def test_arguments_out_of_range_are_refused(mean: float, run_length: float) -> None:
    with pytest.raises(InputError, match="wanted"):
        LossDetector(mean, run_length)


def test_a_loss_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1, found 2"):
        LossDetector(0.2, 100).update(2)


class Leaky:
    """Keeps every number, forgets its alarm, draws at random, takes NaN: each law must say so."""

    def __init__(self) -> None:
        self.reset()

    @property
    def alarm(self) -> bool:
        return self.last + np.random.default_rng().random() > 1.5

    def update(self, value: float) -> None:
        self.last = float(value)
        self.seen.append(self.last + 0.5)
        self.hook = lambda: None

    def reset(self) -> None:
        self.last = 0.0
        self.seen = getattr(self, "seen", [])


@pytest.mark.parametrize(
    "law",
    [
        "test_the_same_losses_give_the_same_alarms",
        "test_reset_forgets_everything",
        "test_an_obvious_change_is_found_and_the_alarm_stays",
        "test_what_is_no_number_is_refused_and_does_no_harm",
        "test_memory_is_bounded",
        "test_its_state_is_picklable_or_said_not_to_be",
    ],
)
def test_a_detector_that_breaks_a_law_is_found_out(law: str) -> None:
    class Laws(StreamDetectorLaws):
        def make(self) -> StreamDetector:
            return Leaky()

    with pytest.raises(AssertionError):
        getattr(Laws(), law)()


def test_a_constant_stream_that_alarms_is_found_out() -> None:
    class Laws(StreamDetectorLaws):
        constant = 1.0

        def make(self) -> StreamDetector:
            return LossDetector(0.2, run_length=20_000)

    with pytest.raises(AssertionError):
        Laws().test_a_new_one_is_silent_and_so_is_a_constant_stream()
