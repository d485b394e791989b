"""`python -m tests.fuzz --requests 200000`: the hunt at any size on a gateway of its own, and schemathesis on its OpenAPI."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.hunt import hunted, reconciled
from tests.fuzz.openapi import explored
from tests.fuzz.place import Place


def main() -> int:
    """0 if nothing is to be complained about."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=300, help="of schemathesis, for each operation; 0: none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        try:
            began, pid = time.monotonic(), place.process.pid
            hunt = hunted(place, asked.requests, asked.seed)
            sys.stdout.write(
                f"{asked.requests:,} requests in {time.monotonic() - began:.0f} s, gateway pid {pid}\n{hunt.table()}\n"
            )
            problem = reconciled(place, hunt)
            acknowledged = hunt.acknowledged.total()
            sys.stdout.write(
                f"log: {problem or f'{acknowledged:,} rows acknowledged, the same in the log, each once'}\n"
            )
            sys.stdout.write("".join(f"COMPLAINT {told}\n" for told in hunt.complaints[:20]))
        finally:
            place.close()
    said, failed = "", False
    if asked.examples:
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder))
            try:
                failed, said = explored(place, asked.examples, asked.seed)
                place.stop()
            finally:
                place.close()
        sys.stdout.write(said)
    return int(bool(hunt.complaints or problem or failed))


if __name__ == "__main__":
    sys.exit(main())
