"""How often does each tool alarm on healthy data, and how soon does it find known changes? See README.md.

`python benchmarks/detection/run.py` takes about half an hour on two cores and writes RESULTS.md; `--quick` looks at
two streams and writes nothing; `--score` counts the answers of the last run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from math import log10
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import report  # noqa: E402
from environments import cache, python_with  # noqa: E402
from outcomes import PERIOD, Answers, Outcome, alarming, as_told, baseline, beyond, equalised, whole_frame  # noqa: E402
from streams import KINDS, LIVE, REFERENCE, Stream, changes, write  # noqa: E402

PEERS = {  # as in benchmarks/profile; NannyML imports statsmodels without saying so
    "nannyml": ("nannyml==0.13.1", "pandas<3", "statsmodels", "pyarrow"),
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow"),
}
QUIET = {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
BUDGETS = {"Afterfit, 1 per 30 d": 1 / 30, "Afterfit, 1 per 90 d": 1 / 90}
P = 0.05  # of the scipy loop
SEEDS = (3, 4)  # the checks were improved on the streams of seeds 1 and 2


def plan(quick: bool) -> list[Stream]:
    """The streams to look at; those with 20 columns have changes."""
    if quick:
        return [Stream(kind, 20, 100, 1, changes(kind)) for kind in ("independent", "levels")]
    found = [Stream(kind, 20, 500, seed, changes(kind)) for kind in KINDS for seed in SEEDS]
    found += [Stream("independent", 20, 100, seed, changes("independent")) for seed in SEEDS]
    found.append(Stream("independent", 20, 2000, SEEDS[0], changes("independent")))
    return found + [Stream(kind, f, n, SEEDS[0]) for kind in KINDS for f, n in ((5, 50), (100, 50), (5, 5000))]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="two streams of 100 rows a day; writes no RESULTS.md")
    arguments.add_argument("--score", action="store_true", help="count the answers of the last run again")
    arguments.add_argument(
        "--ours", action="store_true", help="only Afterfit looks again, beside the last answers of the peers"
    )
    asked = arguments.parse_args()
    folder = cache() / ("detection-quick" if asked.quick else "detection")
    folder.mkdir(exist_ok=True)
    streams = plan(asked.quick)
    if not asked.score:
        _ask(streams, folder, only_ours=asked.ours)
    text = _text(streams, folder)
    print(text)
    if not asked.quick:
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")


def _ask(streams: list[Stream], folder: Path, *, only_ours: bool) -> None:
    """Write the streams, and let each tool answer in a process of its own."""
    for stream in streams:
        write(stream, folder)
    described = [_described(s, folder) for s in streams]
    files = [d[k] for d in described for k in ("file", "changes_file") if d[k]]
    job = {"reference_days": REFERENCE, "streams": described, "files": files, "budgets": BUDGETS}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    pythons = {"ours": Path(sys.executable), "scipy_side": Path(sys.executable)}
    pythons |= {f"{name}_side": python_with(f"detection-{name}", *packages) for name, packages in PEERS.items()}
    if only_ours:
        pythons = {"ours": pythons["ours"]}
    for side, python in pythons.items():
        print(f"{side} looks at {len(files)} files", file=sys.stderr, flush=True)
        command = [str(python), str(HERE / f"{side}.py"), str(folder / "job.json"), str(folder / f"{side}.json")]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **QUIET})
        if result.returncode != 0:
            raise SystemExit(f"{side} failed: {result.stderr[-1500:]}")


def _described(stream: Stream, folder: Path) -> dict[str, Any]:
    changed = str(folder / f"{stream.name} changes.parquet") if stream.changes else None
    whole = str(folder / f"{stream.name}.parquet")
    columns = {c.name: c.column for c in stream.changes}
    return {"name": stream.name, "file": whole, "changes_file": changed, "changes": columns}


def _read(folder: Path, side: str, streams: list[Stream]) -> Answers:
    """The answers of a peer by stream: those of its healthy columns and those of its changes together."""
    by_file = json.loads((folder / f"{side}.json").read_text(encoding="utf-8"))
    found = {}
    for d in (_described(s, folder) for s in streams):
        found[d["name"]] = by_file[d["file"]] | (by_file[d["changes_file"]] if d["changes_file"] else {})
    return found


def _text(streams: list[Stream], folder: Path) -> str:
    ours: dict[str, Answers] = json.loads((folder / "ours.json").read_text(encoding="utf-8"))
    scipy, nannyml, evidently = (_read(folder, f"{s}_side", streams) for s in ("scipy", "nannyml", "evidently"))
    told: dict[str, Outcome] = {name: as_told(streams, answers) for name, answers in ours.items()}
    told |= {
        "Evidently, any column": as_told(streams, evidently),
        "Evidently, data set": whole_frame(streams, evidently),
        "NannyML": as_told(streams, nannyml),
        "scipy, p < .05": as_told(streams, scipy),
        "scipy, Bonferroni": beyond(streams, scipy, lambda s: -log10(P / s.features)),
        "always": baseline(streams, lambda day: True),
        "never": baseline(streams, lambda day: False),
        "periodic": baseline(streams, lambda day: day % PERIOD == PERIOD - 1),
    }
    peers = {"Evidently": evidently, "NannyML": nannyml, "scipy": scipy}
    sized = f"{len(streams)} healthy streams, {sum(len(s.changes) for s in streams)} changes"
    parts = [
        f"# Detection, measured\n\n2 cores. {sized}; {REFERENCE} days of reference, {LIVE} live, a window a day. "
        f"{'; '.join(' '.join(p) for p in PEERS.values())}; ours and the loop beside {_versions('numpy', 'scipy')}. "
        "What the columns mean: README.md. Delays are windows "
        "after the first changed one, 0 is at once, `-` is never; missed changes count as endless.\n",
        "## As they come\n",
        report.defaults(streams, told),
        "## Healthy windows that alarm, by kind and by columns x rows a day\n",
        report.by_kind(streams, told),
    ]
    for name in BUDGETS:
        parts += _equal(streams, name, ours[name], peers, alarming(streams, told[name]), "as often as it does")
    loose = {group: sum(s.group == group for s in streams) * LIVE // 30 for group in alarming(streams, told["never"])}
    name = next(iter(BUDGETS))
    parts += _equal(streams, name, ours[name], peers, loose, "in 1 healthy window of 30, ours too")
    return "\n".join(parts)


def _versions(*packages: str) -> str:
    return ", ".join(f"{name} {version(name)}" for name in packages)


def _equal(
    streams: list[Stream], name: str, mine: Answers, peers: dict[str, Answers], allowed: dict[str, int], how: str
) -> list[str]:
    """All with the thresholds at which they alarm equally often, in each group of streams by itself."""
    ours = equalised(streams, mine, allowed) if "ours too" in how else as_told(streams, mine)
    delays = {"Afterfit": ours.delays(streams)}
    delays |= {peer: equalised(streams, answers, allowed).delays(streams) for peer, answers in peers.items()}
    return [
        f"## {name}: peers tuned to alarm {how}\n\nMedian delay, and how many were found.\n",
        report.medians(streams, delays),
        report.verdicts(streams, delays, "Afterfit"),
        "Found by at least two peers and not by us:\n",
        report.missed(streams, delays, "Afterfit"),
    ]


if __name__ == "__main__":
    main()
