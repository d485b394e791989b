"""Tests that somebody brings run beside our checks: a share of the budget, findings of their own, and no way to hide others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from afterfit.errors import InputError
from afterfit.monitoring.checks import FEW_ROWS
from afterfit.ports import ColumnTest, Compared
from afterfit.records import Finding, Severity
from afterfit.stats.profile import Column

CHECK, FAILED = "extension", "extension_failed"  # of their findings; the method is the test's name
OURS = 5  # our checks of a column, as they count when the budget is shared
Pairs = Mapping[str, tuple[Column | None, Column | None]]  # (reference, window) by column


def run_tests(tests: Sequence[ColumnTest], pairs: Pairs, budget: float) -> tuple[float, list[Finding]]:
    """(what is left of the budget for our own checks, the findings of `tests`).

    Each test counts in each column that it accepts as one check beside our OURS of every column, whether it can run there or
    not, so shares depend on the reference alone. It runs where both sides have values, are of one kind, and the window has
    FEW_ROWS rows. One that raises or answers nonsense gives a finding that says so and stands out: what was not tested is
    not healthy.

    Raises:
        InputError: something that is no test, or two tests of one name.
    """
    check_tests(tests)
    accepted: list[tuple[ColumnTest, str]] = []
    found: list[Finding] = []
    for test in tests:
        for name, (reference, window) in pairs.items():
            if reference is None:
                continue
            try:
                if test.accepts(reference):
                    accepted.append((test, name))
            except Exception as error:  # noqa: BLE001  somebody else's code may raise anything; the finding says what
                found.append(_failed(test, name, error, reference, window))
    known = sum(reference is not None for reference, _ in pairs.values())
    alpha = budget / max(1, OURS * known + len(accepted))
    for test, name in accepted:
        reference, window = pairs[name]
        if reference is not None and window is not None and _can_run(reference, window):
            found.append(_finding(test, name, reference, window, alpha))
    return budget - alpha * len(accepted), found


def check_tests(tests: Sequence[ColumnTest]) -> None:
    """Raise InputError unless each of them has what a ColumnTest has, and a name of its own."""
    names: set[str] = set()
    for test in tests:
        name = getattr(test, "name", None)
        usable = all(callable(getattr(test, method, None)) for method in ("accepts", "compare"))
        if not isinstance(name, str) or not name or not usable or isinstance(test, type):
            raise InputError(
                f"tests: wanted objects with a name, accepts(reference) and compare(reference, window), found {test!r}; "
                "see afterfit.ports.ColumnTest"
            )
        if name in names:
            raise InputError(f"tests: two are named {name!r}; findings tell tests by their names, so give each its own")
        names.add(name)


def _can_run(reference: Column, window: Column) -> bool:
    same = type(reference) is type(window) and (reference.kind == "time") == (window.kind == "time")
    return same and window.n >= FEW_ROWS and bool(reference.values) and bool(window.values)


def _finding(test: ColumnTest, name: str, reference: Column, window: Column, alpha: float) -> Finding:
    try:
        statistic, distance, p_value = (float(v) for v in test.compare(reference, window))
        if not (isfinite(statistic) and isfinite(distance) and 0.0 <= p_value <= 1.0):
            told = Compared(statistic, distance, p_value)
            raise ValueError(f"wanted finite numbers and a p-value between 0 and 1, found {told}")
    except Exception as error:  # noqa: BLE001  somebody else's code may raise anything; the finding says what
        return _failed(test, name, error, reference, window)
    drifted = p_value < alpha
    said = f"p = {p_value:.2g}, distance {distance:.3g}"
    return Finding(
        column=name,
        check=CHECK,
        method=test.name,
        statistic=statistic,
        distance=distance,
        p_value=p_value,
        threshold=alpha,
        drifted=drifted,
        severity=Severity.WARNING if drifted else Severity.INFO,
        message=f"{name}: {test.name} {'finds a change' if drifted else 'finds no change'} ({said})",
        n_reference=reference.n,
        n_window=window.n,
    )


def _failed(test: ColumnTest, name: str, error: Exception, reference: Column, window: Column | None) -> Finding:
    message = f"{name}: the extension failed: {test.name} raised {type(error).__name__}: {error}"
    n_window = window.n if window is not None else 0
    return Finding(name, FAILED, test.name, 0.0, 0.0, 1.0, 0.0, True, Severity.WARNING, message, reference.n, n_window)
