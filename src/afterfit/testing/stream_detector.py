"""Laws of every :class:`afterfit.ports.StreamDetector`: subclass, say how yours is made, and let pytest run it in your own CI."""

from __future__ import annotations

import math
import pickle
import tracemalloc

import numpy as np

from afterfit.errors import InputError
from afterfit.ports import StreamDetector

SLACK = 16_384  # bytes that come and go


class StreamDetectorLaws:
    """`class TestMine(StreamDetectorLaws)` with `make`; a law that yours can't keep is overridden, with the reason beside it.

    Attributes:
        calm, changed: chance of a loss of 1 before and after an obvious change.
        constant: the number of which a healthy stream may consist.
        known: losses before the obvious change; within: those in which it must be found.
        updates: of the law of bounded memory. A window of a million rows is bounded too, but this law says no.
        picklable: whether its state survives pickle, in mid-stream; False is tested as well.
    """

    calm, changed = 0.1, 0.9
    constant = 0.0
    known, within = 1000, 200
    updates = 100_000
    picklable = True

    def make(self) -> StreamDetector:
        """A new detector that has seen nothing."""
        raise TypeError(f"{type(self).__name__} must say how its detector is made: def make(self) -> StreamDetector")

    def test_the_same_losses_give_the_same_alarms(self) -> None:
        """No clock, and no randomness but from a seed."""
        assert self._alarms(self.make()) == self._alarms(self.make())

    def test_reset_forgets_everything(self) -> None:
        """After it, a detector that has seen a whole stream does as a new one does."""
        used = self.make()
        fresh = self._alarms(used)
        used.reset()
        assert not used.alarm
        assert self._alarms(used) == fresh

    def test_a_new_one_is_silent_and_so_is_a_constant_stream(self) -> None:
        """10,000 times the same healthy number, or `updates` times where those are fewer."""
        detector = self.make()
        assert not detector.alarm
        for _ in range(min(10_000, self.updates)):
            detector.update(self.constant)
            assert not detector.alarm

    def test_an_obvious_change_is_found_and_the_alarm_stays(self) -> None:
        """After it, healthy losses don't take the alarm away: it waits for whoever looks next."""
        detector = self.make()
        rng = np.random.default_rng(1)
        for _ in range(10):
            self._feed(detector, rng.random(self.known) < self.calm)
            if not detector.alarm:
                break
            detector.reset()  # after a false alarm, as any detector may have, it needs time to learn again
        self._feed(detector, rng.random(self.within) < self.changed)
        assert detector.alarm, f"no alarm within {self.within} losses"
        self._feed(detector, rng.random(100) < self.calm)
        assert detector.alarm, "an alarm must stay until reset"

    def test_numbers_of_any_type_are_one_number(self) -> None:
        """int, float, bool and those of numpy."""
        streams = (
            [1, 0],
            [1.0, 0.0],
            [True, False],
            np.array([1, 0]),
            np.array([True, False]),
            np.array([1, 0], dtype=np.float32),
        )
        found = []
        for one, zero in streams:
            detector = self.make()
            for loss in np.random.default_rng(2).random(self.known) < self.calm:
                detector.update(one if loss else zero)
            for _ in range(self.within):
                detector.update(one)
            found.append(detector.alarm)
        assert len(set(found)) == 1, f"alarms by type of number: {found}"

    def test_what_is_no_number_is_refused_and_does_no_harm(self) -> None:
        """NaN and infinity raise InputError with words, and the detector goes on as if they had not come."""
        detector, other = self.make(), self.make()
        for bad in (math.nan, math.inf, -math.inf, np.float64("nan")):
            assert self._refused(detector, bad), f"{bad}: wanted an InputError that says what is wanted"
        assert self._alarms(detector) == self._alarms(other)

    def test_memory_is_bounded(self) -> None:
        """The last tenth of the updates leaves less than half a number each. What compiled code allocates by itself is not
        seen."""
        detector = self.make()
        rng = np.random.default_rng(3)
        traced = self.updates // 10
        self._feed(detector, rng.random(self.updates - traced) < self.calm)
        losses = rng.random(traced) < self.calm
        tracemalloc.start()
        try:
            self._feed(detector, losses)
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert grown < SLACK + 4 * traced, f"{grown:,} bytes more after {traced:,} of {self.updates:,} updates"

    def test_its_state_is_picklable_or_said_not_to_be(self) -> None:
        """In mid-stream: the copy goes on as the original does."""
        detector = self.make()
        rng = np.random.default_rng(4)
        self._feed(detector, rng.random(self.known) < self.calm)
        copy, problem = self._copied(detector)
        assert self.picklable == (copy is not None), (
            f"picklable is {self.picklable}, and pickle says: {problem or 'yes'}"
        )
        if copy is None:
            return
        rest = (rng.random(self.within) < self.changed).tolist()
        assert self._path(copy, rest) == self._path(detector, rest)

    def _alarms(self, detector: StreamDetector) -> list[bool]:
        """The alarm after each loss of a stream with an obvious change."""
        rng = np.random.default_rng(5)
        losses = [*(rng.random(self.known) < self.calm), *(rng.random(self.within) < self.changed)]
        return self._path(detector, losses)

    @staticmethod
    def _refused(detector: StreamDetector, bad: float) -> str:
        """What the error says; empty where there was none."""
        try:
            detector.update(bad)
        except InputError as error:
            return str(error)
        return ""

    @staticmethod
    def _copied(detector: StreamDetector) -> tuple[StreamDetector | None, str]:
        try:
            return pickle.loads(pickle.dumps(detector)), ""
        except Exception as error:  # noqa: BLE001  whatever can't be pickled raises as it likes
            return None, str(error) or type(error).__name__

    @staticmethod
    def _path(detector: StreamDetector, losses: list[bool]) -> list[bool]:
        alarms = []
        for loss in losses:
            detector.update(float(loss))
            alarms.append(detector.alarm)
        return alarms

    @staticmethod
    def _feed(detector: StreamDetector, losses: np.ndarray) -> None:
        for loss in losses:
            detector.update(float(loss))
