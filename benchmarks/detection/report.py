"""The tables of the benchmark, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from outcomes import Case, Outcome
from score import Delay, binomial_bounds, incidents, poisson_bounds, quantile, verdict
from streams import KINDS, LIVE, Stream

VERDICTS = ("sooner", "equal", "later", "missed", "nobody")
Delays = Mapping[str, Mapping[Case, Delay]]  # by tool


def defaults(streams: Sequence[Stream], outcomes: Mapping[str, Outcome]) -> str:
    """False incidents of all healthy streams, and the changes found, each tool as it comes."""
    days = LIVE * len(streams)
    rows = []
    for name, outcome in outcomes.items():
        count = sum(incidents(outcome.healthy[s.name]) for s in streams)
        low, high = (30.0 * b / days for b in poisson_bounds(count))
        wrong = sum(sum(outcome.healthy[s.name]) for s in streams)
        bounds = binomial_bounds(wrong, days)
        delays = list(outcome.delays(streams).values())
        share = sum(d is not None for d in delays) / max(len(delays), 1)
        rows.append(
            [name, f"{30.0 * count / days:.2f} ({low:.2f} to {high:.2f})"]
            + [f"{wrong / days:.1%} ({bounds[0]:.1%} to {bounds[1]:.1%})", f"{share:.0%}"]
            + [_said(quantile(delays, q)) for q in (0.5, 0.9)]
        )
    head = ["tool", "false incidents in 30 days", "healthy windows that alarm", "found", "median delay", "90 % delay"]
    return _table(head, rows)


def by_kind(streams: Sequence[Stream], outcomes: Mapping[str, Outcome]) -> str:
    """Share of healthy windows that alarm, by kind and by size of the stream."""
    sizes = sorted({(s.features, s.rows) for s in streams})
    parts: dict[str, Callable[[Stream], bool]] = {k: (lambda s, k=k: s.kind == k) for k in KINDS}
    parts |= {f"{f}x{n}": (lambda s, f=f, n=n: (s.features, s.rows) == (f, n)) for f, n in sizes}
    rows = []
    for name, outcome in outcomes.items():
        cells = []
        for chosen in parts.values():
            windows = [a for s in streams if chosen(s) for a in outcome.healthy[s.name]]
            cells.append(f"{sum(windows) / max(len(windows), 1):.1%}")
        rows.append([name, *cells])
    return _table(["tool", *parts], rows)


def medians(streams: Sequence[Stream], delays: Delays) -> str:
    """Median delay and share found by change, over all streams that have it."""
    names = list(dict.fromkeys(c.name for s in streams for c in s.changes))
    rows = []
    for change in names:
        cells = []
        for found in delays.values():
            mine = [d for (_, c), d in found.items() if c == change]
            cells.append(f"{_said(quantile(mine, 0.5))} ({sum(d is not None for d in mine)}/{len(mine)})")
        rows.append([change, *cells])
    everything = [list(found.values()) for found in delays.values()]
    rows.append(["all"] + [f"{_said(quantile(d, 0.5))} ({sum(x is not None for x in d)}/{len(d)})" for d in everything])
    return _table(["change", *delays], rows)


def verdicts(streams: Sequence[Stream], delays: Delays, ours: str) -> str:
    """Ours beside the best peer, change by change, counted by family, by group of streams, and in all."""
    counts: dict[str, Counter[str]] = {}
    for s in streams:
        for c in s.changes:
            case = (s.name, c.name)
            found = verdict(delays[ours][case], [d[case] for name, d in delays.items() if name != ours])
            for part in (c.family, s.group, "all"):
                counts.setdefault(part, Counter())[found] += 1
    order = sorted(counts, key=lambda part: (part == "all", " " in part))
    rows = []
    for part in order:
        mine = [counts[part][v] for v in VERDICTS]
        rows.append([part, *map(str, mine), f"{sum(mine[:2])} of {sum(mine) - mine[-1]}"])
    return _table(["changes", *VERDICTS, "at most as slow as the best peer"], rows)


def missed(streams: Sequence[Stream], delays: Delays, ours: str) -> str:
    """Every change that at least two peers find and we do not, with their delays."""
    peers = [name for name in delays if name != ours]
    rows = []
    for s in streams:
        for c in s.changes:
            case = (s.name, c.name)
            theirs = {p: delays[p][case] for p in peers if delays[p][case] is not None}
            if delays[ours][case] is None and len(theirs) >= 2:
                rows.append([s.group, str(s.seed), c.name, ", ".join(f"{p} {d}" for p, d in theirs.items())])
    return _table(["stream", "seed", "change", "found by, after windows"], rows) if rows else "None.\n"


def _said(value: Delay) -> str:
    return "-" if value is None else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
