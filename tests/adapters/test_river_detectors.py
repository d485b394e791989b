"""River's detectors keep the laws of a stream detector, and what River lacks is said in words."""

from __future__ import annotations

import pytest

from afterfit.adapters.river_detectors import RiverDetector
from afterfit.errors import InputError, UnknownNameError
from afterfit.testing.stream_detector import StreamDetectorLaws

pytest.importorskip("river", reason="needs River: pip install 'afterfit[river]'")


class TestAdwin(StreamDetectorLaws):
    def make(self) -> RiverDetector:
        return RiverDetector("ADWIN")


class TestPageHinkley(StreamDetectorLaws):
    def make(self) -> RiverDetector:
        return RiverDetector("PageHinkley")


class TestKswin(StreamDetectorLaws):
    updates = 3000  # 0.4 ms an update; its window has 100 numbers

    def make(self) -> RiverDetector:
        return RiverDetector("KSWIN", alpha=0.0001)


class TestDdm(StreamDetectorLaws):
    def make(self) -> RiverDetector:
        return RiverDetector("DDM")


class TestEddm(StreamDetectorLaws):
    def make(self) -> RiverDetector:
        return RiverDetector("EDDM", beta=0.7)  # by its default it alarms within most healthy thousands


class TestHddmA(StreamDetectorLaws):
    def make(self) -> RiverDetector:
        return RiverDetector("HDDMA")


class TestHddmW(StreamDetectorLaws):
    def make(self) -> RiverDetector:
        return RiverDetector("HDDMW")


def test_unknown_names_and_parameters_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ADWIN'"):
        RiverDetector("ADWINN")
    with pytest.raises(UnknownNameError, match="known: 'ADWIN'"):
        RiverDetector("NoDrift")
    with pytest.raises(InputError, match=r"no parameter 'dleta'.*delta"):
        RiverDetector("ADWIN", dleta=0.1)
    with pytest.raises(InputError, match="Alpha must be between 0 and 1"):
        RiverDetector("KSWIN", alpha=2.0)


def test_parameters_reach_river() -> None:
    alarms = []
    for threshold in (2.0, 1000.0):
        detector = RiverDetector("PageHinkley", threshold=threshold)
        for value in [0.0] * 100 + [1.0] * 50:
            detector.update(value)
        alarms.append(detector.alarm)
    assert alarms == [True, False]


def test_a_detector_of_errors_takes_only_errors() -> None:
    with pytest.raises(InputError, match=r"wanted 0 or 1, found 0\.3"):
        RiverDetector("DDM").update(0.3)
    RiverDetector("ADWIN").update(0.3)
