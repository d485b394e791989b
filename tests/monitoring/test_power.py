"""What the power report says is what the live monitor would find; what it draws is like the reference."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binom

from afterfit.errors import InputError
from afterfit.monitoring.checks import check_columns, check_window
from afterfit.monitoring.look import REMEMBERED, Seen
from afterfit.monitoring.power import HORIZON, STARTS, WITHIN, ColumnPower, Power, power_report
from afterfit.monitoring.power_changes import SIZES, Change, changed, changes_of, grain
from afterfit.monitoring.power_rows import ASSUMED_ROWS, DRAWN, Healthy, draw_windows
from afterfit.monitoring.power_table import tables, words
from afterfit.monitoring.reference import Reference, build_reference
from afterfit.stats.profile import Categorical, Numeric, profile

DAY = 86_400.0
ALPHA = 0.5 / 90
NEVER = 10**6  # the day of a change that does not come
KINDS = {"steady": "number", "weather": "number", "count": "integer", "flag": "integer", "place": "text"}
Columns = dict[str, Any]


def day_of(rng: np.random.Generator, n: int) -> Columns:
    """A day of rows; the weather has a level of its own each day, three times as wide as what rows of a day differ by."""
    null = rng.random(n) < rng.choice([0.02, 0.08])
    return {
        "steady": rng.normal(50, 10, n),
        "weather": np.where(null, np.nan, rng.normal(0, 3) + rng.normal(0, 1, n)),
        "count": rng.poisson(3, n).astype(float),
        "flag": (rng.random(n) < 0.3).astype(float),
        "place": rng.choice(np.array(list("abcd"), dtype=object), n, p=[0.5, 0.3, 0.15, 0.05]),
    }


def times_of(rng: np.random.Generator, day: int, n: int) -> np.ndarray:
    return day * DAY + np.sort(rng.uniform(0, DAY, n))


def windows_of(count: int, n: int = 200) -> list[Healthy]:
    rng = np.random.default_rng(2)
    return [Healthy(d * DAY, day_of(rng, n), times_of(rng, d, n)) for d in range(60, 60 + count)]


@pytest.fixture(scope="module")
def reference() -> Reference:
    rng = np.random.default_rng(1)
    parts = [day_of(rng, 200) for _ in range(60)]
    columns = {k: np.concatenate([p[k] for p in parts]) for k in KINDS}
    times = np.concatenate([times_of(rng, d, 200) for d in range(60)])
    return build_reference(columns, kinds=KINDS, times=times, prediction=rng.random(12_000), window=DAY)


@pytest.fixture(scope="module")
def power(reference: Reference) -> Power:
    return power_report(reference, windows_of(10), alpha=ALPHA)


def only(reference: Reference, *names: str) -> Reference:
    columns = {name: reference.profile.columns[name] for name in names}
    return replace(reference, profile=replace(reference.profile, columns=columns))


def column_of(power: Power, name: str) -> ColumnPower:
    return next(c for c in power.columns if c.column == name)


def delays(power: Power, name: str, kind: str) -> list[int]:
    return [t.delay or HORIZON + 1 for t in column_of(power, name).trials if t.change.kind == kind]


def test_a_larger_change_is_never_found_later(power: Power) -> None:
    for column in power.columns:
        for kind in column.kinds:
            found = delays(power, column.column, kind)
            assert found == sorted(found, reverse=True), (column.column, kind)
            least = [c.size if c is not None else np.inf for c in (column.smallest(kind, w) for w in WITHIN)]
            assert least == sorted(least, reverse=True)
    assert delays(power, "steady", "mean")[0] > delays(power, "steady", "mean")[-1] == 1


def test_a_column_that_is_blind_says_so_and_stands_first(power: Power) -> None:
    """Days differ by three standard deviations of their rows: no move of one of them can be seen in a day."""
    weather = column_of(power, "weather")
    assert weather.smallest("mean", 1) is None
    assert "mean" in {c.kind for c in weather.blind}
    assert power.columns[0] is weather
    assert column_of(power, "steady").blind == ()
    said = "\n".join(words(power, "1 false incident per 90 d"))
    assert "even at the largest size:\n  weather: mean +1 sd" in said


def live(reference: Reference, windows: list[Healthy], start: int, change: Change, name: str) -> int:
    """Windows until the monitor, which looks at whole frames and the model's answers, says something new of the column."""
    count, before = len(windows), reference.profile.columns[name]
    healthy = [dict(w.columns) for w in windows]
    moved = [{**rows, name: changed(change, rows[name], before, np.zeros(len(rows[name])))} for rows in healthy]
    seen = {since: [profile(rows, KINDS) for rows in of] for since, of in ((start, moved), (NEVER, healthy))}
    rng = np.random.default_rng(9)

    def fires(day: int, since: int) -> set[str]:
        days = range(day - REMEMBERED, day)
        recent = [Seen(windows[d % count].start, seen[since if d >= since else NEVER][d % count]) for d in days]
        found = check_window(
            reference,
            (moved if day >= since else healthy)[day % count],
            alpha=ALPHA,
            recent=recent,
            prediction=rng.random(windows[0].rows),
            times=windows[day % count].times,
        )
        return {f.check for f in found if f.column == name and f.drifted}

    for day in range(HORIZON):
        if fires(start + day, start) - fires(start + day, NEVER):
            return day + 1
    return HORIZON + 1


@pytest.mark.parametrize("change", [Change("mean", 0.1), Change("mean", 0.2), Change("scale", 1.2)])
def test_the_monitor_of_all_columns_finds_it_after_as_many_windows(
    reference: Reference, power: Power, change: Change
) -> None:
    windows = windows_of(10)
    found = [live(reference, windows, i * 10 // STARTS, change, "steady") for i in range(STARTS)]
    (trial,) = [t for t in column_of(power, "steady").trials if t.change == change]
    assert (trial.delay or HORIZON + 1) == sorted(found)[1]


def test_alpha_is_shared_with_the_columns_that_are_not_looked_at(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = windows_of(2)
    whole = check_window(reference, windows[0].columns, alpha=ALPHA, prediction=np.linspace(0, 1, 200))
    wanted = {(f.column, f.check): f.threshold for f in whole}
    seen: dict[tuple[str, str], set[float]] = {}

    def spy(*args: Any, **more: Any) -> Any:
        found = check_columns(*args, **more)
        for f in found if "recent" in more else ():
            seen.setdefault((f.column, f.check), set()).add(float(f"{f.threshold:.9g}"))
        return found

    monkeypatch.setattr("afterfit.monitoring.power.check_columns", spy)
    power_report(reference, windows, alpha=ALPHA)
    checked = {key: wanted[key] for key in seen}
    assert {key[0] for key in checked} == set(KINDS)
    assert seen == {key: {float(f"{t:.9g}")} for key, t in checked.items()}


def test_the_same_seed_says_the_same_and_json_holds_it_all(reference: Reference, power: Power) -> None:
    few = only(reference, "count", "place")
    once, again = (power_report(few, windows_of(4), alpha=ALPHA, seed=7) for _ in range(2))
    assert once == again
    told = json.loads(json.dumps(power.to_dict()))
    assert (told["alpha"], told["windows"], told["rows"], told["drawn"]) == (ALPHA, 10, 200, False)
    assert [c["column"] for c in told["columns"]] == [c.column for c in power.columns]
    steady = next(c for c in told["columns"] if c["column"] == "steady")
    assert set(steady["smallest"]) == {"mean", "scale", "nulls", "stuck", "°F→°C", "×1000"}
    assert set(steady["smallest"]["mean"]) == {"1", "7", "30"}
    assert steady["trials"][0].keys() == {"kind", "size", "said", "delay"}
    (mean,) = [c for c in told["changes"] if c["said"] == "mean +1 sd"]
    assert mean["columns"] == sum(any(t.change == Change("mean", 1.0) for t in c.trials) for c in power.columns)
    assert mean["found"]["30"] >= mean["found"]["1"] >= 1


def test_progress_is_told_and_an_empty_lake_is_refused(reference: Reference) -> None:
    told: list[tuple[int, int]] = []
    power_report(only(reference, "flag"), windows_of(3), alpha=ALPHA, tell=lambda *at: told.append(at))
    assert told == [(0, 1)]
    with pytest.raises(InputError, match="wanted at least one window with rows"):
        power_report(reference, [], alpha=ALPHA)


# --- drawn windows ---------------------------------------------------------------------------------------------------


def test_drawn_windows_have_the_levels_and_nulls_of_the_last_days_of_the_reference(reference: Reference) -> None:
    rng = np.random.default_rng(1)
    parts = [day_of(rng, 200) for _ in range(60)]  # those of the reference
    drawn = draw_windows(reference, np.random.default_rng(0))
    assert [w.rows for w in drawn] == [200] * DRAWN
    assert [w.start / DAY for w in drawn] == list(range(60 - DRAWN, 60))
    real = np.array([np.nanmean(p["weather"]) for p in parts[-DRAWN:]])
    made = np.array([np.nanmean(w.columns["weather"]) for w in drawn])
    assert np.corrcoef(real, made)[0, 1] > 0.95
    assert made.std() == pytest.approx(real.std(), rel=0.15)
    null = np.array(
        [[np.isnan(c["weather"]).mean() for c in (p, w.columns)] for p, w in zip(parts[-DRAWN:], drawn, strict=True)]
    )
    assert np.corrcoef(null.T)[0, 1] > 0.7
    assert set(np.concatenate([w.columns["flag"] for w in drawn])) == {0.0, 1.0}
    place = Categorical.of(np.concatenate([w.columns["place"] for w in drawn]))
    assert place.counts["a"] / place.n == pytest.approx(0.5, abs=0.03)
    assert not np.array_equal(made, [np.nanmean(w.columns["weather"]) for w in draw_windows(reference, rng)])


def test_drawn_windows_are_healthy(reference: Reference) -> None:
    """28 windows at 5 %: more than 8 alarms have a chance below 1e-4 at the budget."""
    drawn = draw_windows(reference, np.random.default_rng(3))
    alarms = sum(any(f.drifted for f in check_window(reference, w.columns, alpha=0.05, times=w.times)) for w in drawn)
    assert alarms <= binom.isf(1e-4, DRAWN, 0.05)


def test_windows_of_several_blocks_and_of_a_reference_without_times() -> None:
    kinds = {"steady": "number", "place": "text"}
    rng = np.random.default_rng(4)
    parts = [day_of(rng, 100) for _ in range(30)]
    columns = {k: np.concatenate([p[k] for p in parts]) for k in kinds}
    times = np.concatenate([times_of(rng, d, 100) for d in range(30)])
    weekly = build_reference(columns, kinds=kinds, times=times, prediction=None, window=7 * DAY)
    assert weekly.block < weekly.window
    drawn = draw_windows(weekly, rng)
    assert drawn[-1].rows == pytest.approx(700, rel=0.1)
    assert drawn[-1].times is not None
    assert np.ptp(drawn[-1].times) > 6 * DAY
    assert drawn[-1].times.max() <= times.max() + weekly.block
    timeless = build_reference(columns, kinds=kinds, times=None, prediction=None, window=7 * DAY)
    assert {(w.rows, w.times) for w in draw_windows(timeless, rng)} == {(ASSUMED_ROWS, None)}
    assert draw_windows(timeless, rng, rows=77)[0].rows == 77
    found = power_report(timeless, draw_windows(timeless, rng), alpha=ALPHA, drawn=True)
    assert column_of(found, "steady").smallest("mean", 1) in (Change("mean", 0.2), Change("mean", 0.5))
    assert "drawn from the reference's profile" in next(words(found, "1 false incident per 90 d"))


def test_a_column_of_which_nothing_can_be_said_is_named() -> None:
    ids = np.array([f"id{i}" for i in range(1500)], dtype=object)
    data = {"id": ids, "x": np.arange(1500.0), "empty": np.full(1500, np.nan), "when": np.arange(1500.0)}
    kinds = {"id": "text", "x": "number", "empty": "number", "when": "time"}
    reference = build_reference(data, kinds=kinds, times=None, prediction=None, window=DAY)
    found = power_report(reference, draw_windows(reference, np.random.default_rng(0)), alpha=ALPHA, drawn=True)
    assert [c.column for c in found.columns] == ["x"]
    assert set(found.skipped) == {"id", "empty", "when"}
    assert "Nothing is said about id: its categories are kept by hash" in "\n".join(words(found, "x"))


# --- changes ---------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(11)
NUMBERS = {
    "normal": RNG.normal(50, 10, 4000),
    "rounded": np.round(RNG.normal(50, 10, 4000), 1),
    "count": RNG.poisson(3, 4000).astype(float),
    "rain": np.round(RNG.exponential(1, 4000) * (RNG.random(4000) < 0.2), 2),
    "weekday": RNG.integers(0, 7, 4000).astype(float),
    "flag": (RNG.random(4000) < 0.3).astype(float),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_mean_moves_by_what_is_said_and_values_stay_such_as_the_column_has(name: str) -> None:
    values, draws = NUMBERS[name], np.random.default_rng(0).random(4000)
    column, step = Numeric.of(values), grain(values)
    for change in changes_of(column)["mean"]:
        made = changed(change, values, column, draws, step)
        assert made.mean() - values.mean() == pytest.approx(change.size * column.sd, rel=0.1)
        assert grain(made) == step
        if name not in ("normal", "rounded"):
            assert set(made) <= set(values)
        assert (made >= values - 1e-9).all()


def test_sizes_that_a_column_cannot_have_are_not_tried() -> None:
    found = {name: changes_of(Numeric.of(values)) for name, values in NUMBERS.items()}
    assert "°F→°C" in found["normal"]
    assert set(found["weekday"]) == {"mean", "nulls", "stuck", "×1000"}
    assert set(found["flag"]) == {"mean", "nulls", "stuck"}
    assert (
        len(changes_of(Numeric.of(np.repeat([0.0, 1.0], [1, 9])))["mean"]) == 2
    )  # a mean of 0.9 has no room for 0.5 sd
    assert set(changes_of(Numeric.of([1.0, 1.0]))) == {"nulls"}
    assert changes_of(Numeric.of([])) == {}
    yes = Categorical.of(["True", "False"], kind="boolean")
    assert set(changes_of(yes)) == {"nulls", "stuck", "shares"}


def test_scales_nulls_and_shares_change_by_what_is_said() -> None:
    draws = np.random.default_rng(0).random(4000)
    normal, rain = NUMBERS["normal"], NUMBERS["rain"]
    wider = changed(Change("scale", 2.0), normal, Numeric.of(normal), draws)
    assert wider.std() == pytest.approx(2.0 * normal.std())
    more = changed(Change("scale", 1.5), rain, Numeric.of(rain), draws, grain(rain))
    assert ((more == 0.0) == (rain == 0.0)).all()
    assert more.mean() == pytest.approx(1.5 * rain.mean(), rel=0.05)
    text = np.array(list("aaabbc") * 100, dtype=object)
    column, draws = Categorical.of(text), draws[:600]
    sizes = [(text != changed(c, text, column, draws)).mean() for c in changes_of(column)["shares"]]
    assert sizes == pytest.approx(SIZES["shares"])
    some, many = (changed(Change("nulls", size), text, column, draws) == None for size in (0.05, 0.2))  # noqa: E711  by element
    assert (some.sum(), many.sum()) == (30, 120)
    assert (many[some]).all()  # the rows of a smaller change are among those of a larger one
    assert set(changed(Change("stuck", 1.0), text, column, draws)) == {"a"}
    assert not set(changed(Change("new category", 0.05), text, column, draws)) <= {"a", "b", "c"}
    assert np.ptp(changed(Change("stuck", 1.0), normal, Numeric.of(normal), draws)) == 0.0
    assert changed(Change("°F→°C", 1.0), np.array([212.0]), Numeric.of(normal), draws[:1]) == pytest.approx([100.0])


# --- for people ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_and_say_what_the_report_holds(power: Power, width: int) -> None:
    console = Console(record=True, width=width, file=StringIO())
    for table in tables(power):
        console.print(table)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for column in power.columns:
        assert column.column in text
    (mean,) = [o for o in power.changes if o.change == Change("mean", 1.0)]
    row = next(line for line in lines if "mean +1 sd" in line)
    assert row.split()[3:7] == [str(mean.columns), *(str(mean.found[w]) for w in WITHIN)]


def test_windows_too_small_to_judge_are_said(reference: Reference) -> None:
    found = power_report(reference, windows_of(3, n=20), alpha=ALPHA)
    assert all(t.delay is None for c in found.columns for t in c.trials)
    (said,) = words(found, "1 false incident per 90 d")
    assert "about 20 rows" in said
    assert "nothing is found but a missing column" in said
