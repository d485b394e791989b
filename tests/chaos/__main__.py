"""`python -m tests.chaos --times 20` brings every trouble about 20 times; `--kills 100` kills the gateway 100 times."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos import kills
from tests.chaos.cases import CASES, Case, run, save, say, table
from tests.chaos.rooms import Room, Toll

Row = tuple[str, int, Toll]
GATEWAY_KILLED = "gateway is killed"


def main() -> int:
    """0 when no caller saw an error, and nothing was lost or logged twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how often each trouble comes")
    parser.add_argument("--case", default="", help="only those whose name holds this text")
    parser.add_argument("--kills", type=int, default=0, help="kill the gateway so often instead")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args()
    rows = [_kills(options.kills)] if options.kills else _cases(options.times, options.case)
    say("")
    say(table(rows))
    if options.json is not None:
        save(options.json, rows)
    restarts = {case.name for case in CASES if case.restarts}
    ends = restarts | {GATEWAY_KILLED}
    bad = [name for name, _, t in rows if t.lost or t.twice or t.errors or (t.broken and name not in ends)]
    if bad:
        say(f"failed: {'; '.join(bad)}")
    return 1 if bad else 0


def _kills(times: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        return GATEWAY_KILLED, times, kills.run(Path(folder), times)


def _cases(times: int, wanted: str) -> list[Row]:
    rows: list[Row] = []
    for setting in ("canary", "standby"):
        chosen: list[Case] = [case for case in CASES if case.setting == setting and wanted in case.name]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            room = Room(Path(folder))
            try:
                getattr(room, setting)()
                for case in chosen:
                    rows.append((case.name, times, run(case, room, times)))
                    say(table(rows[-1:]).splitlines()[1])
            finally:
                room.world.close()
    return rows


if __name__ == "__main__":
    sys.exit(main())
