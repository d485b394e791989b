"""Does the budget hold? 200 healthy streams of each kind, of 5 to 100 columns and 50 to 100,000 rows a day.

`python benchmarks/detection/false_alarms.py` takes about half an hour on two cores and writes FALSE_ALARMS.md. The streams are
those of streams.py with seeds of their own: nothing was tuned on them. The peers' rates on streams of these kinds are in
RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from ours import Window, look_at  # noqa: E402
from score import incidents, poisson_bounds  # noqa: E402
from streams import DAY, KINDS, REFERENCE, Stream, healthy, moments  # noqa: E402

from afterfit.monitoring.reference import build_reference  # noqa: E402
from afterfit.stats.profile import profile  # noqa: E402

FIRST_SEED = 1000
SIZES = {  # columns, rows a day: streams of each kind
    (5, 50): 66, (20, 50): 24, (100, 50): 6, (5, 500): 50, (20, 500): 24, (20, 5000): 4, (5, 5000): 22, (5, 100_000): 4,
}  # fmt: skip
WATCHED = 30  # live days
BUDGETS = {"1 per 30 d": 1 / 30, "1 per 90 d": 1 / 90}
Count = tuple[str, str, str, int, int]  # kind, size, budget, incidents, alarming windows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--share", type=float, default=1.0, help="of the streams, to try it; writes nothing below 1")
    share = arguments.parse_args().share
    streams = [
        Stream(kind, f, n, FIRST_SEED + i)
        for (f, n), count in sorted(SIZES.items(), key=lambda item: -item[0][0] * item[0][1])
        for kind in KINDS
        for i in range(max(1, round(share * count)))
    ]
    with ProcessPoolExecutor(2) as pool:
        counts = [c for found in pool.map(count, streams) for c in found]
    text = report(streams, counts)
    print(text)
    if share == 1.0:
        (HERE / "FALSE_ALARMS.md").write_text(text, encoding="utf-8")


def count(stream: Stream) -> list[Count]:
    """Incidents and alarming windows of one stream, by budget."""
    times = moments(stream)
    columns = {name: healthy(stream, name, times) for name in stream.columns}
    kinds = {name: "number" if values.dtype.kind == "f" else "text" for name, values in columns.items()}
    first = REFERENCE * stream.rows
    reference = build_reference(
        {name: values[:first] for name, values in columns.items()},
        kinds=kinds, times=times[:first], prediction=None, window=DAY,
    )  # fmt: skip
    windows = []
    for start in range(first, first + WATCHED * stream.rows, stream.rows):
        rows = {name: values[start : start + stream.rows] for name, values in columns.items()}
        windows.append(Window(rows, times[start : start + stream.rows], profile(rows, kinds).columns))
    strictest = max(BUDGETS.values())
    seen, _ = look_at(reference, windows, strictest)
    found = []
    for name, alpha in BUDGETS.items():  # the thresholds of another budget are in proportion
        alarms = [any(f.p_value < f.threshold * alpha / strictest for f in findings) for findings in seen]
        found.append((stream.kind, f"{stream.features}x{stream.rows}", name, incidents(alarms), sum(alarms)))
    return found


def report(streams: list[Stream], counts: list[Count]) -> str:
    """Two tables: by kind, and by size."""
    parts = [
        f"# False alarms of healthy streams\n\n{len(streams)} streams, {WATCHED} live days each after {REFERENCE} days of "
        "reference, a window a day; sizes are columns x rows a day. Incidents are runs of alarming windows; bounds are "
        "exact (Poisson, 95 %, for streams that are independent). Wanted: at most 1 and 0.33 in 30 days.\n"
    ]
    for at, what in ((0, "kind"), (1, "columns x rows")):
        names = list(dict.fromkeys(c[at] for c in counts))
        lines = [f"| {what} | streams | {' | '.join(f'{b}: incidents in 30 d | windows' for b in BUDGETS)} |"]
        lines.append("| --- | --- |" + " --- | --- |" * len(BUDGETS))
        for name in [*names, "all"]:
            cells = [_cell([c for c in counts if c[2] == b and (name == "all" or c[at] == name)]) for b in BUDGETS]
            size = sum(1 for c in counts if name == "all" or c[at] == name) // len(BUDGETS)
            lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    worst: dict[tuple[str, str, str], list[Count]] = defaultdict(list)
    for c in counts:
        worst[c[:3]].append(c)
    rates = {key: sum(c[3] for c in found) * 30 / WATCHED / len(found) for key, found in worst.items()}
    high = sorted((r, k) for k, r in rates.items() if r > 30 * BUDGETS[k[2]])
    listed = [f"* {kind}, {size}, {budget}: {rate:.2f} in 30 days" for rate, (kind, size, budget) in reversed(high)]
    return "\n".join([*parts, "Kinds and sizes above their budget:\n", "\n".join(listed) or "None.", ""])


def _cell(found: list[Count]) -> str:
    total, months = sum(c[3] for c in found), len(found) * WATCHED / 30
    low, high = poisson_bounds(total)
    windows = sum(c[4] for c in found) / (len(found) * WATCHED)
    return f"{total / months:.2f} ({low / months:.2f} to {high / months:.2f}) | {windows:.1%}"


if __name__ == "__main__":
    main()
