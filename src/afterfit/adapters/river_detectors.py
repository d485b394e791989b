"""River's drift detectors behind :class:`afterfit.ports.StreamDetector`: `pip install 'afterfit[river]'`."""

from __future__ import annotations

import inspect
import math
from types import ModuleType
from typing import Any

from afterfit.errors import InputError, SetupError, UnknownNameError

SEED = 0  # of detectors that draw at random: River's own default differs from run to run


class RiverDetector:
    """One of River's detectors, by its class name there: ADWIN, PageHinkley, KSWIN, DDM, EDDM, HDDMA, HDDMW.

    River tells of a change only at the update that found it and then begins anew; here the alarm stays until `reset`.
    The last four take losses of 0 or 1, the others any number (ADWIN's promise is for bounded ones). A change for the
    better is an alarm too, unless the detector is told otherwise (PageHinkley: `mode="up"`).

    Args:
        name: of the class in `river.drift` or `river.drift.binary`.
        parameters: as River names them; default: River's. `seed`, where there is one, is 0.

    Raises:
        SetupError: River is not installed.
        UnknownNameError: no such detector.
        InputError: a parameter that it does not have or refuses.

    References:
        Montiel et al. (2021), River: machine learning for streaming data in Python, JMLR 22(110); each detector's paper is
        named in its docstring there.
    """

    def __init__(self, name: str, **parameters: Any) -> None:
        drift = _drift()
        known = {c: cls for part in (drift, drift.binary) for c, cls in inspect.getmembers(part, _detects)}
        if name not in known:
            raise UnknownNameError("detector of River", name, known)
        accepted = list(inspect.signature(known[name]).parameters)
        if "seed" in accepted:
            parameters.setdefault("seed", SEED)
        if strange := [p for p in parameters if p not in accepted]:
            raise InputError(f"{name} has no parameter {strange[0]!r}; River's {name} has {', '.join(accepted)}")
        try:
            self._fresh = known[name](**parameters)
        except (TypeError, ValueError) as error:
            raise InputError(f"River's {name} refuses {parameters}: {error}") from error
        self.name = name
        self._binary = hasattr(drift.binary, name)
        self._detector = self._fresh.clone()
        self._alarm = False

    @property
    def alarm(self) -> bool:
        """Whether it saw a change since the last reset."""
        return self._alarm

    def update(self, value: float) -> None:
        """Take the next value; after an alarm it goes on from River's own fresh start."""
        number = float(value)
        if self._binary and number not in (0.0, 1.0):
            raise InputError(f"{self.name} counts errors: wanted 0 or 1, found {value!r}; give it 0/1 losses")
        if not math.isfinite(number):
            raise InputError(f"{self.name}: wanted a finite number, found {value!r}; leave out rows without outcome")
        self._detector.update(number)
        self._alarm = self._alarm or bool(self._detector.drift_detected)

    def reset(self) -> None:
        """Forget everything that was seen."""
        self._detector = self._fresh.clone()
        self._alarm = False


def _drift() -> ModuleType:
    try:
        from river import drift
    except ImportError as error:
        raise SetupError("River is not installed: pip install 'afterfit[river]'") from error
    found: ModuleType = drift
    return found


def _detects(thing: Any) -> bool:
    """Whether it finds change. FHDDM of River 0.26 alarms when errors become fewer, unlike what its page says."""
    watches = inspect.isclass(thing) and hasattr(thing, "drift_detected")
    return watches and thing.__name__ not in ("DummyDriftDetector", "NoDrift", "FHDDM")
