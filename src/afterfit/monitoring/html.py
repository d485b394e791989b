"""A comparison as one HTML page for someone who was not there: the verdict, then the worst column first.

The page loads nothing, runs nothing and holds no raw rows, only what profiles hold: counts, quantiles, categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from math import ceil, log10, nan
from typing import TYPE_CHECKING

from afterfit.monitoring.checks import FEW_ROWS
from afterfit.monitoring.drawing import Pair, Timeline, chart, null_bars, spark, timeline
from afterfit.monitoring.importance_table import importance_section
from afterfit.monitoring.markup import STYLE, count, heading, listing, moment, name, number, percent, text
from afterfit.monitoring.segment_table import segment_table
from afterfit.monitoring.where import NOTE, gathered, worst_first
from afterfit.records import Finding, Severity
from afterfit.stats.profile import Column, Numeric

if TYPE_CHECKING:
    from afterfit.monitoring.report import Report

NAMED = 3  # columns in the verdict
RANKED = 12  # columns in the list of links
LONGEST_SENTENCE = 400
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a browser then loads nothing, whatever the data say
TROUBLES = {
    "unit": "unit change",
    "nulls": "more nulls",
    "drift": "distribution moved",
    "prediction": "answers moved",
    "range": "values out of range",
    "unseen": "unseen categories",
    "constant": "stuck at one value",
    "type": "type changed",
    "missing": "column missing",
    "extra": "column is new",
    "sign": "correlation with the target flipped",
    "joint": "columns changed together",
}
WORDS = {
    "KS distance": "the largest gap between the two cumulative distributions: 0 is no difference, 1 is no overlap.",
    "Total variation": "the share of rows that would have to change category to turn one distribution into the other.",
    "PSI": "population stability index; by custom, below 0.1 is little, above 0.25 is a lot.",
    "p": "how likely a difference as large as this is if nothing changed. A check fires below its own threshold, and the "
    "thresholds of all checks share the budget.",
    "Difference": "KS distance for numbers, total variation for categories, both from 0 to 1.",
    "Critical": "the feed looks broken: fix it before the model is judged or retrained on these rows.",
    "Warning": "the world, or the way it is measured, has changed: look whether the model still holds.",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known about one column."""

    column: str
    whole: tuple[Finding, ...]  # of the whole window, not of segments
    drifted: tuple[Finding, ...]  # worst first; each says in which segments too
    pair: Pair

    @property
    def judged(self) -> bool:
        return bool(self.drifted) or any(f.check != "no_data" for f in self.whole)


def render(
    report: Report,
    columns: Mapping[str, Pair],
    *,
    title: str,
    made_at: datetime | None = None,
    timeline: Timeline = (),
) -> str:
    """The page, complete with its style: at most 1 MB for 100 columns.

    Args:
        report: the findings.
        columns: (old, new) profile by column; None for one that is in one data set only. A column of the report
            without profiles gets its sentences and no drawing.
        title: what was compared, for a person.
        made_at: when, shown if given.
        timeline: (start, distance by column) of several windows in the order of time.
    """
    entries = _entries(report, columns)
    changed = sorted((e for e in entries if e.drifted), key=lambda e: worst_first(e.drifted[0]))
    healthy = [e for e in entries if e.judged and not e.drifted]
    unjudged = [e for e in entries if not e.judged]
    parts = [
        _top(report, entries, changed, unjudged, title, made_at),
        importance_section(report.weighed),
        _changed(changed, timeline),
        segment_table(report),
        _unjudged(unjudged),
        _healthy(healthy, timeline),
        _words(),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(p for p in parts if p)
        + "\n</main></body></html>\n"
    )


def framed(page: str, height: int = 640) -> str:
    """The page in a frame of its own, for a notebook: neither style sheet reaches the other."""
    return (
        f'<iframe sandbox="" title="Report of a comparison" width="100%" height="{height}" '
        f'style="border:1px solid #8888;border-radius:8px" srcdoc="{escape(page, quote=True)}"></iframe>'
    )


def _entries(report: Report, columns: Mapping[str, Pair]) -> list[_Entry]:
    whole: dict[str, list[Finding]] = {column: [] for column in columns}
    drifted: dict[str, list[Finding]] = {}
    for f in report.findings:
        if f.segment is None and f.check != NOTE:
            whole.setdefault(f.column, []).append(f)
    for f in sorted(gathered(report.findings), key=worst_first):
        drifted.setdefault(f.column, []).append(f)
    names = dict.fromkeys((*whole, *drifted))
    return [_Entry(n, tuple(whole.get(n, ())), tuple(drifted.get(n, ())), columns.get(n, (None, None))) for n in names]


# --- top -------------------------------------------------------------------------------------------------------


def _top(
    report: Report,
    entries: Sequence[_Entry],
    changed: Sequence[_Entry],
    unjudged: Sequence[_Entry],
    title: str,
    made_at: datetime | None,
) -> str:
    facts = {
        "rows, old": f"{report.n_reference:,}",
        "rows, new": f"{report.n_window:,}",
        "changed": f"{len(changed):,}",
        "healthy": f"{len(entries) - len(changed) - len(unjudged):,}",
    } | ({"not judged": f"{len(unjudged):,}"} if unjudged else {})
    listed = "".join(f"<li><b>{value}</b>{label}</li>" for label, value in facts.items())
    when = f" · {moment(made_at)}" if made_at else ""
    return (
        f'<header><p class="soft">{text(title)}{when}</p><h1>{_verdict(entries, changed, unjudged)}</h1>'
        f'<ul class="facts">{listed}</ul>{_ranking(changed)}<p class="soft">{_budget(report.budget)}</p></header>'
    )


def _verdict(entries: Sequence[_Entry], changed: Sequence[_Entry], unjudged: Sequence[_Entry]) -> str:
    if not entries:
        return "Nothing was compared"
    if len(unjudged) == len(entries):
        return f"Nothing can be said yet about {count(len(entries), 'column')}"
    judged = len(entries) - len(unjudged)
    if not changed:
        return f"No change found in {count(judged, 'column')}"
    worst = ", ".join(f"{name(e.column)} ({_why(e.drifted[0])})" for e in changed[:NAMED])
    more = ", …" if len(changed) > NAMED else ""
    return f"{len(changed):,} of {count(judged, 'column')} changed; worst: {worst}{more}"


def _budget(budget: float) -> str:
    many = 10 ** ceil(-log10(budget) - 1e-9) if 0.0 < budget < 1.0 else 1
    return (
        f"Chance of a false alarm: at most {number(100 * budget)}%. Of {many:,} such comparisons in which nothing has "
        f"changed, about {number(budget * many)} would still name a column."
    )


def _trouble(f: Finding) -> str:
    return TROUBLES.get(f.check) or text(f.check.replace("_", " "))


def _why(f: Finding) -> str:
    return _trouble(f) + (f" only in {name(f.segment)}" if f.segment is not None else "")


def _ranking(changed: Sequence[_Entry]) -> str:
    """Links to the cards, so that the worst are seen at one glance."""
    lines = []
    shown = changed if len(changed) == RANKED + 1 else changed[:RANKED]  # a line for one more is a line too
    for place, e in enumerate(shown, start=1):
        worst = e.drifted[0]
        lines.append(
            f'<li class="{worst.severity.value}"><a href="#column-{place}"><span class="soft">{place}</span>'
            f'<b>{name(e.column)}</b><span class="badge">{_severity(worst)}</span>'
            f'<span class="why">{", ".join(dict.fromkeys(_why(f) for f in e.drifted))}</span></a></li>'
        )
    more = len(changed) - len(lines)
    return (f'<ol class="rank">{"".join(lines)}</ol>' if lines else "") + (
        f'<p class="soft">and {count(more, "column")} more below</p>' if more > 0 else ""
    )


def _severity(f: Finding) -> str:
    return f"{'▲' if f.severity is Severity.CRITICAL else '△'} {f.severity.value}"


# --- what changed ----------------------------------------------------------------------------------------------


def _changed(changed: Sequence[_Entry], windows: Timeline) -> str:
    if not changed:
        return ""
    cards = "\n".join(_card(place, e, windows) for place, e in enumerate(changed, start=1))
    return f"<section><h2>What changed, worst first</h2>\n{cards}</section>"


def _card(place: int, e: _Entry, windows: Timeline) -> str:
    found = e.drifted
    badge = f'<span class="badge">{_severity(found[0])}: {_trouble(found[0])}</span>'
    sentences = "".join(f"<li>{_sentence(f)}</li>" for f in found)
    drawn = (null_bars(e.pair) if any(f.check == "nulls" for f in found) and any(e.pair) else "") + chart(
        e.column, e.pair
    )
    body = drawn + timeline(e.column, windows)
    both = _facts(e.pair)
    return (
        f'<article class="card {found[0].severity.value}" id="column-{place}"><div class="head"><h3>{place}.&nbsp;'
        f'{name(e.column)}</h3>{badge}</div><ul class="said">{sentences}</ul>'
        + (f'<div class="body"><div>{body}</div><div>{both}</div></div>' if body or both else "")
        + f"{_evidence(e)}</article>"
    )


def _sentence(f: Finding) -> str:
    """The message without the column's name before it, which stands in the heading already."""
    label = f.column if f.segment is None else f"{f.column} [{f.segment}]"
    said = f.message.removeprefix(f"{label}: ")
    if f.segment is not None and said != f.message:
        said = f"in {f.segment}: {said}"
    return text(said[:1].upper() + said[1:], LONGEST_SENTENCE) + "."


def _evidence(e: _Entry) -> str:
    lines = "".join(
        f"<dt>{_trouble(f)}</dt><dd>{text(f.method)}: statistic {number(f.statistic)}, {_p(f.p_value)}, "
        f"fires below {number(f.threshold)}</dd>"
        for f in e.drifted
        if f.method != "schema"
    )
    quiet = ", ".join(_trouble(f) for f in e.whole if f.check not in {d.check for d in e.drifted})
    lines += f"<dt>Also looked for, not found</dt><dd>{quiet}</dd>" if quiet else ""
    return f"<details><summary>Evidence</summary><dl>{lines}</dl></details>" if lines else ""


def _p(value: float) -> str:
    return f"p = {number(value)}" if value > 1e-300 else "p below 1e-300"


def _facts(pair: Pair) -> str:
    sides = [_facts_of(c) if c is not None else {} for c in pair]
    if not any(sides):
        return ""
    lines = "".join(
        f'<tr><th scope="row">{label}</th>' + "".join(f"<td>{s.get(label, '–')}</td>" for s in sides) + "</tr>"
        for label in dict.fromkeys(label for s in sides for label in s)
    )
    return (
        '<table class="facts-of"><thead><tr><td></td><th scope="col">old</th><th scope="col">new</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def _facts_of(c: Column) -> dict[str, str]:
    nulls = f"{c.nulls:,} ({percent(c.nulls / c.n)})" if c.n else "–"
    facts = {"rows": f"{c.n:,}", "nulls": nulls}
    if isinstance(c, Numeric):
        mean = number(c.mean if c.values else nan)
        if c.infinite:
            facts["infinite"] = f"{c.infinite:,}"
        return {**facts, "lowest": number(c.low), "median": _middle(c), "mean": mean, "highest": number(c.high)}
    distinct = "too many to name" if c.folded else f"{len(c.counts):,}"
    return {**facts, "distinct": distinct, "most frequent": _middle(c)}


def _middle(c: Column) -> str:
    """The median, or the most frequent category with its share."""
    if isinstance(c, Numeric):
        return number(float(c.quantiles([0.5])[0]))
    top = max(c.counts, key=lambda k: c.counts[k], default=None)
    if top is None or c.folded:
        return "–" if top is None else "(names not kept)"
    return f"{name(top)} ({percent(c.counts[top] / c.values)})"


# --- what did not ----------------------------------------------------------------------------------------------


def _unjudged(unjudged: Sequence[_Entry]) -> str:
    if not unjudged:
        return ""
    lines = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{name(e.column)}</th>'
        f'<td role="cell" class="mid" data-label="state">{_state(e)}</td></tr>'
        for e in unjudged
    )
    head = '<th scope="col" role="columnheader">column</th><th scope="col" role="columnheader" class="mid">state</th>'
    return f"<section><h2>Not judged</h2>{listing(head, lines)}</section>"


def _state(e: _Entry) -> str:
    if not e.whole:
        return "no check has looked at it"
    there = min(f.n_window for f in e.whole)
    if there >= FEW_ROWS:
        return _sentence(e.whole[0])
    return f"too few rows: {there:,} there, {FEW_ROWS} needed ({FEW_ROWS - there} more)"


def _healthy(healthy: Sequence[_Entry], windows: Timeline) -> str:
    if not healthy:
        return ""
    lines = "".join(_healthy_line(e) for e in sorted(healthy, key=lambda e: -_difference(e)))
    head = heading(
        (
            ("column", ""),
            ("old and new", ' class="mid"'),
            ("median or most frequent", ""),
            ("nulls", ""),
            ("difference", ""),
        )
    )
    return (
        f"<section><h2>No change found</h2><p>{count(len(healthy), 'column')}, the largest difference first; all of it is "
        f"within what chance and the usual ups and downs explain.</p>{listing(head, lines)}</section>"
    )


def _healthy_line(e: _Entry) -> str:
    old, new = e.pair
    typical = " → ".join(_middle(c) if c is not None else "–" for c in (old, new))
    nulls = " → ".join(percent(c.nulls / c.n) if c is not None and c.n else "–" for c in (old, new))
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{name(e.column)}</th>'
        f'<td role="cell" class="mid">{spark(e.column, e.pair)}</td>'
        f'<td role="cell" data-label="typical">{typical}</td><td role="cell" data-label="nulls">{nulls}</td>'
        f'<td role="cell" data-label="difference">{_difference(e):.3f}</td></tr>'
    )


def _difference(e: _Entry) -> float:
    return max((f.distance for f in e.whole if f.check in ("drift", "prediction")), default=0.0)


def _words() -> str:
    listed = "".join(f"<dt>{word}</dt><dd>{meaning[0].upper()}{meaning[1:]}</dd>" for word, meaning in WORDS.items())
    return (
        "<footer><h2>How to read this</h2><p>Old is the reference, new is what was compared with it. In every drawing the "
        "old data are filled and the new data are an outline. The budget holds for rows that are independent of each "
        f"other, or for blocks of time if the reference knows them.</p><details><summary>Words</summary><dl>{listed}"
        "</dl></details></footer>"
    )
