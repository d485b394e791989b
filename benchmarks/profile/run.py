"""Compare 200 000 with 1 000 000 rows of 50 columns, beside the peers, in one run: `python benchmarks/profile/run.py`.

Contestants take turns, each run in a process of its own. `--quick` leaves out the slow peers; `--rows` also compares with
a larger file, to show that memory stays and time grows in line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from data import write  # noqa: E402
from environments import cache, python_with  # noqa: E402

PEERS = {  # pins: the newest that work together; Evidently 0.7.23 does not import beside pandas 3.1
    "scipy": ("scipy==1.17.1", "pandas==3.1.1", "pyarrow==26.0.1"),
    "whylogs": ("whylogs[viz]==1.6.4", "pandas<2.3", "numpy<2", "pyarrow<19", "setuptools<81"),
    "nannyml": ("nannyml==0.13.1", "pandas<3", "statsmodels", "pyarrow"),
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow"),
}
SLOW = ("whylogs", "nannyml", "evidently")
TURNS = {"afterfit": 7, "duckdb": 7, "scipy": 3}  # others once


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="only scipy and DuckDB")
    arguments.add_argument("--rows", type=int, default=0, help="rows of a larger current file, such as 10000000")
    asked = arguments.parse_args()
    reference, current = cache() / "reference.parquet", cache() / "current.parquet"
    write(reference, 200_000, seed=1)
    write(current, 1_000_000, seed=2, shift=0.05)
    pythons = {"afterfit": Path(sys.executable), "duckdb": Path(sys.executable)}
    for name, packages in PEERS.items():
        if not (asked.quick and name in SLOW):
            pythons[name] = python_with(name, *packages)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for turn in range(max(TURNS.values())):
        for name, python in pythons.items():
            if turn < TURNS.get(name, 1):
                results[name] += _once(python, name, reference, current)
    _table(results)
    if asked.rows:
        large = cache() / f"current-{asked.rows}.parquet"
        write(large, asked.rows, seed=3, shift=0.05)
        _growth(reference, current, large, asked.rows)


def _once(python: Path, name: str, reference: Path, current: Path) -> list[dict[str, float]]:
    """What one run says; nothing, and a line on stderr, when it failed: the others go on."""
    command = [str(python), str(HERE / "contestants.py"), name, str(reference), str(current)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(f"{name} failed: {result.stderr[-1500:]}", file=sys.stderr)
        return []
    found: dict[str, float] = json.loads(result.stdout.strip().splitlines()[-1])
    return [found]


def _table(results: dict[str, list[dict[str, float]]]) -> None:
    ours = median(r["seconds"] for r in results["afterfit"])
    print(
        f"{'contestant':<12} {'runs':>4} {'median s':>9} {'min s':>8} {'of it reading':>14} {'peak MB':>8} {'/ afterfit':>10}"
    )
    for name, runs in results.items():
        if not runs:
            print(f"{name:<12} failed")
            continue
        seconds = [r["seconds"] for r in runs]
        read, peak = median(r["read"] for r in runs), max(r["peak_mb"] for r in runs)
        print(
            f"{name:<12} {len(runs):>4} {median(seconds):>9.2f} {min(seconds):>8.2f} {read:>14.2f} {peak:>8.0f} "
            f"{median(seconds) / ours:>10.2f}"
        )


def _growth(reference: Path, current: Path, large: Path, rows: int) -> None:
    for path, n in ((current, 1_000_000), (large, rows)):
        runs = [run for _ in range(3) for run in _once(Path(sys.executable), "afterfit", reference, path)]
        seconds, peak = median(r["seconds"] for r in runs), median(r["peak_mb"] for r in runs)
        print(f"afterfit, current {n:>12,} rows: {seconds:7.2f} s, peak {peak:6.0f} MB")


if __name__ == "__main__":
    main()
