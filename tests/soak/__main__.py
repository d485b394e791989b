"""`python -m tests.soak --minutes 30 --requests 5000000` goes on until both are reached, and says whether anything leaked."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.leftovers import left_behind, marked
from tests.soak import verdict
from tests.soak.run import run


def main() -> int:
    """0 when nothing failed and nothing grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--swaps", type=int, default=20, help="at least so many versions are put live")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, marked() as mark:
        soak = run(
            Path(folder), minutes=options.minutes, requests=options.requests, swaps=options.swaps,
            connections=options.connections, say=say,
        )  # fmt: skip
        left = [" ".join(process.cmdline()) for process in left_behind(mark, patience=15.0)]
    say("\n" + verdict.table(soak.samples) + "\n")
    for name, (middle, slope, share) in verdict.growth(soak).items():
        say(f"{name}: {middle:.0f} MB, {slope:+.1f} MB an hour ({share:+.1%}) over the second half")
    say(
        f"{soak.counts.requests:,} requests, {sum(soak.counts.acknowledged.values()):,} rows acknowledged, {soak.served:,} logged, "
        f"{soak.log.predictions:,} in the lake; {sum(soak.counts.outcomes.values()):,} outcomes stored, {soak.log.outcomes:,} in "
        f"the lake; {soak.swaps} swaps, {soak.by_itself} by evidence alone; {soak.counts.degraded.total()} rows degraded"
    )
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(soak), indent=1))
    bad = verdict.problems(soak) + verdict.grew(soak) + [f"left behind: {process}" for process in left]
    say("failed: " + "; ".join(bad) if bad else "nothing failed, and nothing grew")
    for told in soak.counts.told[:20]:
        say(f"  {told}")
    return 1 if bad else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
