"""Without River its adapter says what to install; a file of its own, since the other one is skipped then."""

from __future__ import annotations

import sys

import pytest

from afterfit.adapters.river_detectors import RiverDetector
from afterfit.errors import SetupError


def test_without_river_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(SetupError, match=r"pip install 'afterfit\[river\]'"):
        RiverDetector("ADWIN")
