"""Concept drift: how soon is it seen in the losses, and how often wrongly? See CONCEPTS.md.

`python benchmarks/detection/concepts.py` takes about ten minutes on two cores and writes the tables to CONCEPTS-TABLES.md;
`--quick` looks at two seeds and writes nothing; `--score` counts the answers of the last run again; `--ours` lets only
Afterfit look again. Data of ../shared is used where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from concepts_score import CHANGE, DAY, LIVE, tables  # noqa: E402
from environments import cache, python_with  # noqa: E402

from afterfit.stats import e_detector  # noqa: E402
from afterfit.stats.betting import interval  # noqa: E402
from afterfit.stats.concept import Concept  # noqa: E402

RIVER = "river==0.26.1"
SEEDS = 20
HEALTHY_SEEDS, THRESHOLD_SEEDS, FLIP_SEEDS = 100, 200, 300  # added, so that no two streams share their rows
TRAIN, REFERENCE = 2000, 2000  # rows
CLIP = 0.001  # a log loss is at most 6.9
CHANGES = [(k, s) for k in ("sea", "stagger", "agrawal") for s in ("abrupt", "gradual", "recurring")]
CHANGES += [("hyperplane", "incremental"), ("rbf", "incremental"), ("flip", "abrupt"), ("flip", "gradual")]
HEALTHY = ("sea", "stagger", "agrawal", "hyperplane", "rbf")
ALPHA = 0.05  # of the bound on the reference's loss that the e-detector tolerates
DATA = ROOT.parent / "shared" / "data"
Stream = dict[str, Any]


def plan(seeds: int) -> list[Stream]:
    """Streams whose change is known, healthy ones, healthy ones for the thresholds, and files where they are."""
    found = [_stream(kind, shape, seed, "change") for kind, shape in CHANGES for seed in range(1, seeds + 1)]
    for kind in HEALTHY:
        for more, use in ((HEALTHY_SEEDS, "healthy"), (THRESHOLD_SEEDS, "threshold")):
            found += [_stream(kind, "stationary", more + seed, use) for seed in range(1, seeds + 1)]
    return found + list(_files())


def _stream(kind: str, shape: str, seed: int, use: str) -> Stream:
    seed += FLIP_SEEDS if kind == "flip" else 0
    rows = TRAIN + REFERENCE + LIVE
    return {
        "name": f"{kind} {shape} {seed}", "kind": kind, "shape": shape, "seed": seed, "use": use, "rows": rows,
        "train": TRAIN, "reference": REFERENCE, "change": TRAIN + REFERENCE + CHANGE,
    }  # fmt: skip


def _files() -> Iterator[Stream]:
    if (DATA / "sea.csv.gz").exists():
        for begin in (0, 12_500, 25_000):
            yield {
                "name": f"sea.csv row {begin + 12_500}", "shape": "file", "use": "file", "file": "sea.csv.gz",
                "from": begin, "rows": 18_500, "train": 3000, "reference": 3000, "change": 12_500,
            }  # fmt: skip
    if (DATA / "elec2.csv.gz").exists():
        yield {
            "name": "elec2.csv row 17424", "shape": "file", "use": "file", "file": "elec2.csv.gz", "from": 0,
            "rows": 45_312, "train": 4000, "reference": 4000, "change": 17_424,
        }  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="two seeds a stream")
    arguments.add_argument("--ours", action="store_true", help="only Afterfit looks again, beside River's last answers")
    arguments.add_argument("--score", action="store_true", help="count the answers of the last run again")
    asked = arguments.parse_args()
    streams = plan(2 if asked.quick else SEEDS)
    folder = cache() / ("concepts-quick" if asked.quick else "concepts")
    folder.mkdir(exist_ok=True)
    if not asked.score:
        _ask(streams, folder, only_ours=asked.ours)
    ladders, answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    text = tables(streams, answers, ladders)
    print(text)
    if not asked.quick:
        (HERE / "CONCEPTS-TABLES.md").write_text(text, encoding="utf-8")
    if not any(s["use"] == "file" for s in streams):
        print("../shared/data is absent: sea.csv and elec2.csv were skipped")


def _ask(streams: list[Stream], folder: Path, *, only_ours: bool) -> None:
    """Make the streams, fit the models, and let both sides look at the losses: River's in two processes."""
    if only_ours:
        ladders, known = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        again = {s["name"]: ours(s, folder) | {"river": known[s["name"]]["river"]} for s in streams}
        (folder / "answers.json").write_text(json.dumps([ladders, again]), encoding="utf-8")
        return
    job = folder / "job.json"
    job.write_text(json.dumps({"folder": str(folder), "streams": streams}), encoding="utf-8")
    river = [str(python_with("detection-river", RIVER)), str(HERE / "concepts_river.py")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*river, "streams", str(job)], check=True, env=quiet)
    _said("streams are made")
    answers = {}
    for stream in streams:
        answers[stream["name"]] = ours(stream, folder)
    _said("models are fitted, Afterfit has looked")
    shards = [folder / f"river-{shard}.json" for shard in (0, 1)]
    running = [
        subprocess.Popen([*river, "detect", str(job), str(shard), str(path)], env=quiet)
        for shard, path in enumerate(shards)
    ]
    if max(process.wait() for process in running) > 0:
        raise SystemExit("River's side failed; its error stands above")
    for path in shards:
        for name, found in json.loads(path.read_text(encoding="utf-8")).items():
            answers[name]["river"] = found
    described = subprocess.run(
        [river[0], "-c", "import json, concepts_river as r; print(json.dumps([r.LADDERS, r.DEFAULTS]))"],
        check=True, capture_output=True, text=True, cwd=HERE,
    ).stdout  # fmt: skip
    (folder / "answers.json").write_text(json.dumps([json.loads(described), answers]), encoding="utf-8")


def ours(stream: Stream, folder: Path) -> dict[str, Any]:
    """Fit the model, write its losses, and give the highest log of each of our detectors after each day."""
    x, y = _rows(stream, folder)
    learned, known = stream["train"], stream["train"] + stream["reference"]
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(x[:learned], y[:learned])
    p = model.predict_proba(x)[:, 1]
    q = np.clip(p, CLIP, 1 - CLIP)
    losses = {"error": ((p > 0.5) != y).astype(float), "log": -np.log(np.where(y == 1, q, 1 - q))}
    parts = {name: loss[known:] for name, loss in losses.items()}
    parts |= {f"reference_{name}": loss[learned:known] for name, loss in losses.items()}
    np.savez(folder / f"{stream['name']} losses.npz", **parts)
    days = range(known, len(y), DAY)
    state = Concept.learn(x[learned:known], p[learned:known], y[learned:known])
    paths: dict[str, list[float]] = {"Afterfit concept": []}
    for start in days:
        day = slice(start, start + DAY)
        state = state.update(x[day], p[day], y[day])
        paths["Afterfit concept"].append(state.log_e)
    for name, bound in (("error", 1.0), ("log", -np.log(CLIP))):
        scaled = losses[name] / bound
        tolerated = interval(scaled[learned:known], ALPHA)[1]
        path, _ = e_detector.of_losses(scaled[known:], min(tolerated, 0.99))
        highest = np.maximum.accumulate(path)
        paths[f"Afterfit losses {'0/1' if name == 'error' else 'log'}"] = [
            float(highest[min(start - known + DAY, len(path)) - 1]) for start in days
        ]
    healthy = slice(known, stream["change"])
    changed = slice(stream["change"], None)
    means = {n: [float(loss[healthy].mean()), float(loss[changed].mean())] for n, loss in losses.items()}
    return {"paths": paths, "means": means}


def _rows(stream: Stream, folder: Path) -> tuple[Any, Any]:
    if stream["shape"] != "file":
        made = np.load(folder / f"{stream['name']}.npz")
        return made["x"], made["y"]
    table = pd.read_csv(DATA / stream["file"]).iloc[stream["from"] : stream["from"] + stream["rows"]]
    if stream["file"].startswith("sea"):
        return table[["f1", "f2", "f3"]].to_numpy(), table["y"].to_numpy()
    columns = ["day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]
    return table[columns].to_numpy(dtype=float), (table["class"] == "UP").to_numpy(dtype=int)


def _said(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
