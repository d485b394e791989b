"""The pictures of a report as inline SVG and tables: old filled, new as an outline, so that no colour is needed.

Drawings stretch to the width they get; all words stand outside of them as HTML and keep their size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from afterfit.monitoring.markup import count, name, number, percent, text
from afterfit.stats import categorical
from afterfit.stats.profile import Categorical, Column, Floats, Numeric

MOST_BARS = 30
SPARK_BARS = 20
MOST_CATEGORIES = 8  # pairs of bars; the rest is drawn as one pair
MOST_WINDOWS = 120  # bars of a timeline; more windows are drawn in groups
SQUASHED = 0.05  # share of the axis below which a distribution can't be read on a linear scale
LEAST_TOP = 0.25  # height of a timeline's scale, at least: small distances shall look small
TOLD = 0.0005  # share of values beyond the axis from which the reader is told
LONG_NAME = 14  # characters of a category from which its bars stand below its name on a phone
FLOOD = 2.0  # the others are drawn up to this many times the largest named category; more would squash that
KEY = '<span class="keys"><span class="key"></span>old<span class="key new"></span>new</span>'

Pair = tuple[Column | None, Column | None]  # (old, new); None where a column is in one data set only
Timeline = Sequence[tuple[datetime, Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of two columns in the same bars. The outermost bars also hold what lies beyond them."""

    edges: Floats
    old: Floats | None  # None: no values
    new: Floats | None
    logarithmic: bool


def chart(column: str, pair: Pair) -> str:
    """Old and new distribution over each other, with words around them; nothing can be drawn without values."""
    present = [c for c in pair if c is not None]
    if not present:
        return ""
    if all(isinstance(c, Categorical) for c in present):
        return _categories(*pair)
    if all(isinstance(c, Numeric) for c in present):
        return _numbers(column, *pair)
    return '<p class="soft">Old and new values are of different kinds and can\'t be drawn together.</p>'


def null_bars(pair: Pair) -> str:
    """The shares of nulls as one pair of bars, which the distribution of the other values can't show."""
    rates = [c.nulls / c.n if c and c.n else 0.0 for c in pair]
    row = _pair_row("null", "", rates[0], rates[1], 1.0)
    return _pairs(f"Rows without a value {KEY}", row, "")


def spark(column: str, pair: Pair) -> str:
    """A small drawing of both distributions for a line of a table."""
    old, new = pair
    if isinstance(old, Numeric) and isinstance(new, Numeric):
        drawn = histogram(old, new, SPARK_BARS)
        shares = (drawn.old, drawn.new) if drawn else (None, None)
    elif isinstance(old, Categorical) and isinstance(new, Categorical):
        before, now = _alike(old, new)
        kept = shown_categories(before, now)
        was, is_now = _shares(before, kept), _shares(now, kept)
        others = sum(float(s[-1]) for s in (was, is_now) if s is not None)
        named = len(kept) if _flooded((was, is_now)) or not others else None
        shares = (None if was is None else was[:named], None if is_now is None else is_now[:named])
    else:
        return ""
    if shares[0] is None and shares[1] is None:
        return '<span class="soft">no values</span>'
    label = f"old and new distribution of {text(column)}"
    return f'<svg class="spark" role="img" aria-label="{label}" {_box(shares)}>{_outlines(*shares)}</svg>'


def timeline(column: str, windows: Timeline) -> str:
    """How far the column was from the reference, window by window; empty when no window knows the column."""
    grouped = _grouped(column, windows)
    known = [(d, at) for at, d in grouped if not math.isnan(d)]
    if not known:
        return ""
    top, when = max(known, key=lambda pair: pair[0])
    height = max(top, LEAST_TOP)
    said = f"highest {number(round(top, 3))}, in the window from {when:%Y-%m-%d}"
    said += f"; the scale ends at {LEAST_TOP}" if top < LEAST_TOP else ""
    path = "".join(
        f"M{10 * i + 1} 100V{100 - 100 * max(d, 0.0) / height:.1f}H{10 * i + 9}V100"
        for i, (_, d) in enumerate(grouped)
        if not math.isnan(d)
    )
    grouping = "" if len(grouped) == len(windows) else f" Each bar is the highest of up to {_step(windows)} windows."
    return (
        f'<figure><figcaption>Distance from the old data over time</figcaption><svg class="time" role="img" '
        f'aria-label="{text(column)}, distance by window: {said}" viewBox="0 0 {10 * len(grouped)} 100" '
        f'preserveAspectRatio="none"><path class="t" d="{path}"/></svg><div class="axis"><span>{grouped[0][0]:%Y-%m-%d}'
        f'</span><span>{grouped[-1][0]:%Y-%m-%d}</span></div><p class="cap">{said[0].upper()}{said[1:]}.{grouping}</p>'
        f"</figure>"
    )


def histogram(old: Numeric | None, new: Numeric | None, most: int = MOST_BARS) -> Histogram | None:
    """Both columns in at most `most` bars of one axis; None when neither has a value."""
    both = [c for c in (old, new) if c is not None and c.values]
    if not both:
        return None
    ends = [_robust(c) for c in both]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    logarithmic = _squashed(ends, low, high)
    edges = _edges(both, low, high, most, logarithmic)
    shares = [_bars(c, edges) if c is not None and c.values else None for c in (old, new)]
    return Histogram(edges, shares[0], shares[1], logarithmic)


def shown_categories(old: Categorical | None, new: Categorical | None) -> list[str]:
    """The most frequent ones, and always the one that moved most and the largest unseen one: findings speak of them."""
    was, now = _rates(old), _rates(new)
    every = [*was, *(k for k in now if k not in was)]
    frequent = sorted(every, key=lambda k: -max(was.get(k, 0.0), now.get(k, 0.0)))
    moved = sorted(every, key=lambda k: -abs(was.get(k, 0.0) - now.get(k, 0.0)))[:1]
    unseen = sorted((k for k in every if is_unseen(k, old)), key=lambda k: -now.get(k, 0.0))[:1]
    kept = list(dict.fromkeys([*moved, *unseen, *frequent]))[:MOST_CATEGORIES]
    return sorted(kept, key=lambda k: (-was.get(k, 0.0), -now.get(k, 0.0), k))


def is_unseen(category: str, old: Categorical | None) -> bool:
    """Whether the old data surely had no such category; without names nobody knows."""
    return old is not None and not old.folded and category not in old.counts


# --- numbers ---------------------------------------------------------------------------------------------------


def _numbers(column: str, old: Column | None, new: Column | None) -> str:
    before, now = (c if isinstance(c, Numeric) else None for c in (old, new))
    drawn = histogram(before, now)
    if drawn is None:
        return '<p class="soft">Neither the old nor the new data have a value to draw.</p>'
    shares = (drawn.old, drawn.new)
    described = "; ".join(f"{what}: {_in_words(c)}" for what, c in (("old", before), ("new", now)) if c is not None)
    scale = ", logarithmic scale" if drawn.logarithmic else ""
    axis = "".join(f"<span>{label}</span>" for label in _axis(drawn))
    top = max(float(s.max()) for s in shares if s is not None)
    return (
        f"<figure><figcaption>Share of values{scale} {KEY}</figcaption>"
        f'<svg class="wide" role="img" aria-label="{text(column)}, {described}" {_box(shares)}>{_outlines(*shares)}</svg>'
        f'<div class="axis">{axis}</div>'
        f'<p class="cap">Tallest bar: {percent(top)}.{_beyond(drawn, before, now)}</p></figure>'
    )


def _axis(drawn: Histogram) -> list[str]:
    """Labels of both ends, and of the middle where it is half-way, to the thousandth of the axis' length."""
    low, high = float(drawn.edges[0]), float(drawn.edges[-1])
    if drawn.logarithmic:
        return [number(low), number(high)]
    digits = 3 - math.floor(math.log10(high / 2 - low / 2))
    return [number(round(edge, digits)) for edge in (low, low / 2 + high / 2, high)]


def _robust(c: Numeric) -> tuple[float, float]:
    """Where nearly all values lie: half the inner spread more on either side, so that a few wild values (an error
    code such as 9999) do not squash the rest."""
    q01, q05, q95, q99 = (float(q) for q in c.quantiles(np.array([0.01, 0.05, 0.95, 0.99])))
    reach = q95 / 2 - q05 / 2  # halves first: the difference of huge values would overflow
    low, high = (q05 - reach, q95 + reach) if reach > 0 else (q01, q99)
    return max(low, c.low), min(high, c.high)


def _squashed(ends: Sequence[tuple[float, float]], low: float, high: float) -> bool:
    """Whether one of two positive columns is so much narrower (metres, kilometres) that only logarithms show both."""
    narrow = min(e[1] - e[0] for e in ends)
    return low > 0 and 0 < narrow < SQUASHED * (high - low)


def _edges(both: Sequence[Numeric], low: float, high: float, most: int, logarithmic: bool) -> Floats:
    if low == high:
        pad = abs(low) / 20 or 0.5
        return np.array([low - pad, low + pad])
    share = np.linspace(0.0, 1.0, most + 1)
    if logarithmic:
        return np.exp(math.log(low) * (1 - share) + math.log(high) * share)
    if _whole(both) and high - low < 1e15:  # whole numbers: equal counts of them in each bar, or some bars look empty
        width = max(1, math.ceil((math.floor(high) - math.ceil(low) + 1) / most))
        bars = math.ceil((math.floor(high) - math.ceil(low) + 1) / width)
        return math.ceil(low) - 0.5 + width * np.arange(bars + 1, dtype=float)
    return low * (1 - share) + high * share


def _whole(both: Sequence[Numeric]) -> bool:
    looks = np.concatenate([c.quantiles(np.linspace(0.0, 1.0, 101)) for c in both])
    return bool((looks == np.round(looks)).all())


def _bars(c: Numeric, edges: Floats) -> Floats:
    inner = np.asarray(c.cdf(edges[1:-1]), dtype=float)
    return np.clip(np.diff(np.concatenate([[0.0], inner, [1.0]])), 0.0, 1.0)


def _beyond(drawn: Histogram, old: Numeric | None, new: Numeric | None) -> str:
    told = []
    for what, c in (("old", old), ("new", new)):
        if c is None or not c.values:
            told.append(f"no {what} values")
            continue
        ends = np.array([np.nextafter(drawn.edges[0], -np.inf), drawn.edges[-1]])
        below, within = (float(v) for v in c.cdf(ends))
        if below >= TOLD and c.low < drawn.edges[0]:
            told.append(f"{percent(below)} of the {what} values in the first bar are lower, down to {number(c.low)}")
        if 1.0 - within >= TOLD and c.high > drawn.edges[-1]:
            told.append(
                f"{percent(1.0 - within)} of the {what} values in the last bar are higher, up to {number(c.high)}"
            )
    said = "; ".join(told)
    return f" {said[0].upper()}{said[1:]}." if said else ""


def _in_words(c: Numeric) -> str:
    low, middle, high = (number(float(q)) for q in c.quantiles(np.array([0.05, 0.5, 0.95])))
    return f"nine in ten values from {low} to {high}, median {middle}" if c.values else "no values"


# --- categories ------------------------------------------------------------------------------------------------


def _categories(old: Column | None, new: Column | None) -> str:
    before, now = _alike(*(c if isinstance(c, Categorical) else None for c in (old, new)))
    kept = shown_categories(before, now)
    if not kept:
        return '<p class="soft">Neither the old nor the new data have a value to draw.</p>'
    was, is_now = (_shares(c, kept) for c in (before, now))
    group = "hash group " if any(c is not None and c.folded for c in (before, now)) else ""
    labels = [(group + name(k), '<span class="fresh">unseen</span>' if is_unseen(k, before) else "") for k in kept]
    every = {**(before.counts if before else {}), **(now.counts if now else {})}
    if len(every) > len(kept):
        more = count(len(every) - len(kept), *(("group",) if group else ("category", "categories")))
        labels.append(("all others", f'<span class="soft">({more})</span>'))
    sides = [s if s is not None else np.zeros(len(kept) + 1) for s in (was, is_now)]
    drawn = len(kept) if _flooded((was, is_now)) else len(labels)
    top = max(float(s[:drawn].max()) for s in sides) or 1.0
    rows = "".join(
        _pair_row(label, mark, float(sides[0][i]), float(sides[1][i]), top if i < drawn else 0.0)
        for i, (label, mark) in enumerate(labels)
    )
    notes = [f"No {what} values." for what, s in (("old", was), ("new", is_now)) if s is None]
    notes += ["Too many categories to keep their names: they are counted in groups by hash value."] if group else []
    notes += ["The bars of all others are left out: they would dwarf the rest."] if drawn < len(labels) else []
    after = f'<p class="cap">{" ".join(notes)}</p>' if notes else ""
    return _pairs(f"Share of values {KEY}", rows, after, long=max(map(len, kept)) > LONG_NAME)


def _alike(old: Categorical | None, new: Categorical | None) -> tuple[Categorical | None, Categorical | None]:
    """Both by name, or, when one is counted by hash value, both by hash value."""
    if old is None or new is None:
        return old, new
    return categorical.alike(old, new)


def _flooded(sides: tuple[Floats | None, Floats | None]) -> bool:
    """Whether the last share, that of all others, is so large that the named ones could not be read beside it."""
    both = [s for s in sides if s is not None]
    return any(float(s[-1]) > FLOOD * max(float(t[:-1].max()) for t in both) for s in both)


def _pairs(caption: str, rows: str, after: str, long: bool = False) -> str:
    head = '<td></td><td class="bars"></td>' + "".join(
        f'<th scope="col" role="columnheader">{side}</th>' for side in ("old", "new")
    )
    return (
        f'<figure><figcaption>{caption}</figcaption><table role="table" class="pairs{" long" if long else ""}">'
        f'<thead><tr role="row">{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{after}</figure>"
    )


def _pair_row(label: str, mark: str, old: float, new: float, top: float) -> str:
    """One category; no bars when `top`, the share of a full bar, is 0."""
    bars = (
        f'<svg aria-hidden="true"><rect class="o" y="1" height="8" width="{100 * old / top:.1f}%"/>'
        f'<rect class="n" y="12" height="7" width="{100 * new / top:.1f}%"/></svg>'
        if top
        else ""
    )
    return (
        f'<tr role="row"><th scope="row" role="rowheader">{label} {mark}</th><td role="cell" class="bars">{bars}</td>'
        f'<td role="cell">{percent(old)}</td><td role="cell">{percent(new)}</td></tr>'
    )


def _rates(c: Categorical | None) -> dict[str, float]:
    return {k: v / c.values for k, v in c.counts.items()} if c is not None and c.values else {}


def _shares(c: Categorical | None, kept: Sequence[str]) -> Floats | None:
    """Shares of the kept categories, and last that of all others; None when there is no value."""
    if c is None or not c.values:
        return None
    rates = _rates(c)
    shares = [rates.get(k, 0.0) for k in kept]
    others = sum(v for k, v in c.counts.items() if k not in set(kept))
    return np.array([*shares, others / c.values])


# --- lines -----------------------------------------------------------------------------------------------------


def _box(shares: tuple[Floats | None, Floats | None]) -> str:
    bars = max(len(s) for s in shares if s is not None)
    return f'viewBox="0 0 {10 * bars} 100" preserveAspectRatio="none"'


def _outlines(old: Floats | None, new: Floats | None) -> str:
    top = max(float(s.max()) for s in (old, new) if s is not None) or 1.0
    return "".join(
        f'<path class="{kind}" d="M0 100{_steps(shares, top)}V100"/>'
        for kind, shares in (("o", old), ("n", new))
        if shares is not None
    )


def _steps(shares: Floats, top: float) -> str:
    return "".join(f"V{100 - 100 * s / top:.1f}H{10 * i}" for i, s in enumerate(shares.tolist(), start=1))


def _step(windows: Timeline) -> int:
    return math.ceil(len(windows) / MOST_WINDOWS)


def _grouped(column: str, windows: Timeline) -> list[tuple[datetime, float]]:
    """(start, highest distance) of each group of windows, NaN where none knows the column."""
    step = max(1, _step(windows))
    found = []
    for i in range(0, len(windows), step):
        group = windows[i : i + step]
        known = [float(d[column]) for _, d in group if column in d and math.isfinite(d[column])]
        found.append((group[0][0], max(known, default=math.nan)))
    return found
