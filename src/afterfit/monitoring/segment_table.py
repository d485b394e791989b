"""The part of a drawn report that tells how each segment came off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterfit.monitoring.markup import count, heading, listing, name, text
from afterfit.monitoring.where import NOTE, Segment

if TYPE_CHECKING:
    from afterfit.monitoring.report import Report

LONGEST = 400  # characters of a note
NAMED = 6  # drifted columns of a segment


def segment_table(report: Report) -> str:
    """Worst first; empty when the rows were not cut."""
    segments = report.segments
    notes = "".join(
        f'<p class="soft">{text(f.message, LONGEST)}.</p>' for f in report.findings if f.check == NOTE and not f.segment
    )
    if not segments:
        return f"<section><h2>By segment</h2>{notes}</section>" if notes else ""
    judged = sum(s.judged > 0 for s in segments)
    hit = sum(bool(s.drifted) for s in segments)
    head = heading(
        (
            ("segment", ""),
            ("columns that drifted", ' class="mid"'),
            ("rows, old", ""),
            ("rows, new", ""),
        )
    )
    said = f"{hit:,} of {count(judged, 'segment')} drifted, the worst first; each is compared with its own rows of old."
    return f"<section><h2>By segment</h2><p>{said}</p>{listing(head, ''.join(map(_line, segments)))}{notes}</section>"


def _line(s: Segment) -> str:
    if not s.judged:
        state = text(s.said.removeprefix(f"{s.name}: "), LONGEST)
    elif not s.drifted:
        state = f"none of {s.judged:,}"
    else:
        more = ", …" if len(s.drifted) > NAMED else ""
        state = f"<b>{len(s.drifted):,} of {s.judged:,}</b>: {', '.join(map(name, s.drifted[:NAMED]))}{more}"
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{name(s.name)}</th>'
        f'<td role="cell" class="mid" data-label="columns">{state}</td>'
        f'<td role="cell" data-label="old">{s.n_reference:,}</td>'
        f'<td role="cell" data-label="new">{s.n_window:,}</td></tr>'
    )
