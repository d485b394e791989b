"""The power report for people: plain words on top, then a table of changes and one of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from afterfit.monitoring.checks import FEW_ROWS
from afterfit.monitoring.power import HORIZON, WITHIN, ColumnPower, Power
from afterfit.monitoring.power_changes import SIZES, Change

TOLD = (
    (Change("mean", 0.2), "a mean that moves by 0.2 sd"),
    (Change("scale", 1.5), "a scale that grows by half"),
    (Change("nulls", 0.05), "5 % more nulls"),
    (Change("new category", 0.01), "a new category in 1 % of the rows"),
    (Change("shares", 0.1), "a tenth of the rows with another category"),
)
HEADS = {
    "mean": "mean +sd",
    "scale": "scale ×",
    "nulls": "nulls +%",
    "stuck": "stuck",
    "new category": "new cat. %",
    "shares": "moved %",
}
NONE = "–"
NAMED = 8  # features that are named


def words(power: Power, budget: str) -> Iterator[str]:
    """What the tables say, in sentences.

    Args:
        power: of one version.
        budget: such as `1 false incident per 90 d`.
    """
    rows = f"windows of {power.window / 86400:g} d and about {power.rows:,} rows"
    origin = (
        "drawn from the reference's profile: the model has no windows yet"
        if power.drawn
        else f"the newest {power.windows} healthy ones, played forward"
    )
    said = f"At {budget}, with {rows} ({origin}),"
    if power.rows < FEW_ROWS:
        yield f"{said} nothing is found but a missing column or another type: checks want {FEW_ROWS} rows"
        return
    yield f"{said} the first changed window finds"
    overall = {o.change: o for o in power.changes}
    for change, what in TOLD:
        if change in overall:
            one = overall[change]
            yield f"  {what} in {one.found[1]} of {one.columns} features ({one.found[7]} within 7)"
    if blind := [c for c in power.columns if c.blind]:
        yield f"Not found within {HORIZON} windows, even at the largest size:"
        yield from (f"  {c.column}: {', '.join(b.said for b in c.blind)}" for c in blind[:NAMED])
        yield from [f"  and something in {len(blind) - NAMED} more features"] if len(blind) > NAMED else []
    if loud := sorted((c for c in power.columns if c.alarms), key=lambda c: -c.alarms):
        named = ", ".join(f"{c.column} in {c.alarms:.0%} of the windows" for c in loud[:NAMED])
        yield f"Drifted even without a change, which may hide one: {named}{' ...' if len(loud) > NAMED else ''}"
    for name, why in power.skipped.items():
        yield f"Nothing is said about {name}: {why}"


def tables(power: Power) -> Iterator[Table]:
    """Each change over all features, then the features, worst first: numbers and text apart."""
    yield _changes(power)
    for title, text in (("numbers", False), ("text", True)):
        columns = [c for c in power.columns if (c.kind in ("text", "boolean")) is text]
        if columns:
            yield _features(title, columns)


def _changes(power: Power) -> Table:
    table = Table(title="features in which a change is found", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("change")
    table.add_column("of", justify="right")
    for w in WITHIN:
        table.add_column(f"within {w}", justify="right")
    table.add_column("median delay", justify="right")
    for one in power.changes:
        delay = f"> {HORIZON}" if one.delay is None else str(one.delay)
        table.add_row(one.change.said, str(one.columns), *(str(one.found[w]) for w in WITHIN), delay)
    return table


def _features(title: str, columns: Sequence[ColumnPower]) -> Table:
    said = f"{title}, worst first: the smallest size found within {', '.join(map(str, WITHIN))} windows ({NONE} none)"
    table = Table(title=said, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("feature", overflow="ellipsis", no_wrap=True)
    kinds = [kind for kind in SIZES if any(kind in c.kinds for c in columns)]
    for kind in kinds:
        under = " ".join(f"{w:>3}" for w in WITHIN) if len(SIZES[kind]) > 1 else "after"
        table.add_column(f"{HEADS.get(kind, kind)}\n{under}", justify="right", no_wrap=True)
    for column in columns:
        table.add_row(escape(column.column), *(_cell(column, kind) for kind in kinds))
    return table


def _cell(column: ColumnPower, kind: str) -> str:
    """The sizes by WITHIN; of a kind that has one size only, its delay. Empty where the column can't have it."""
    if kind not in column.kinds:
        return ""
    if len(SIZES[kind]) == 1:
        return next(NONE if t.delay is None else str(t.delay) for t in column.trials if t.change.kind == kind)
    percent = 1.0 if kind in ("mean", "scale") else 100.0
    least = [column.smallest(kind, w) for w in WITHIN]
    return " ".join(f"{(f'{c.size * percent:g}' if c else NONE):>3}" for c in least)
