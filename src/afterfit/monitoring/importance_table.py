"""What moved beside what the model makes of it, for people: a table for the terminal and a part of the drawn report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afterfit.monitoring.importance import Weighed
from afterfit.monitoring.markup import count, heading, name

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 8  # features
TITLE = "What moved, and what the model makes of it"
MEANING = (
    "Distance is 0 for the same values as in the reference and 1 for no overlap; importance is what the loss rose by when "
    "the feature was shuffled, measured at registration."
)


def terminal_table(rows: Sequence[Weighed]) -> Table:
    """The first rows, one a line."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=TITLE, title_justify="left", title_style="", caption=_more(rows) or None)
    table.caption_justify, table.caption_style = "left", ""
    table.add_column("feature", overflow="fold")  # a name is never cut
    table.add_column("distance", justify="right")
    table.add_column("importance", justify="right")
    table.add_column("")
    for row in rows[:SHOWN]:
        table.add_row(escape(row.feature), *_numbers(row), row.said)
    return table


def importance_section(rows: Sequence[Weighed]) -> str:
    """Two bars a feature; empty without rows."""
    if not rows:
        return ""
    shown = rows[:SHOWN]
    top = max(row.importance or 0.0 for row in shown)
    head = heading((("feature", ""), ("distance", ""), ("importance", "")))
    lines = "".join(_line(row, top) for row in shown)
    more = f'<p class="soft">{_more(rows)}</p>' if _more(rows) else ""
    return (
        f'<section><h2>{TITLE}</h2><p>{MEANING}</p><div class="card beside"><table role="table"><thead>'
        f'<tr role="row">{head}</tr></thead><tbody>{lines}</tbody></table></div>{more}</section>'
    )


def _line(row: Weighed, top: float) -> str:
    distance, importance = _numbers(row)
    share = max(row.importance or 0.0, 0.0) / top if top > 0.0 else 0.0
    return (
        f'<tr role="row"><th scope="row" role="rowheader"><b>{name(row.feature)}</b><br>{row.said}</th>'
        f'<td role="cell">{_bar("t", row.distance)}{distance}</td>'
        f'<td role="cell">{_bar("o", share)}{importance}</td></tr>'
    )


def _bar(kind: str, share: float) -> str:
    return f'<svg aria-hidden="true"><rect class="{kind}" height="10" width="{100 * min(1.0, share):.1f}%"/></svg>'


def _numbers(row: Weighed) -> tuple[str, str]:
    """Distance and importance as shown; below 0 the importance is noise about 0."""
    distance = f"{row.distance:.3f}" if row.distance else "not moved"
    return distance, "–" if row.importance is None else f"{max(0.0, row.importance):.4f}"


def _more(rows: Sequence[Weighed]) -> str:
    rest = rows[SHOWN:]
    idle = sum(row.ignored for row in rest)
    moved = f"; {idle:,} of them moved, and the model does as well without" if idle else ""
    return f"and {count(len(rest), 'feature')} more{moved}" if rest else ""
