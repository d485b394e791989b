"""Label-free performance, NannyML against Afterfit: error against the truth, time, coverage. One command, see README.md."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from afterfit.stats.expected import Binary, Estimate
from afterfit.stats.expected_loss import LossModel
from afterfit.stats.expected_multiclass import Multiclass

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from environments import cache, python_with  # noqa: E402

WANTED = ("nannyml==0.13.1", "pandas<3", "statsmodels", "pyarrow")  # it needs them and declares not all
SIMULATED = "1 M simulated"
BINARY = ["car loan", "work from home", "MA employment", "California", SIMULATED]
WORLDS = [f"world {i}" for i in range(20)]  # nothing was tuned on these
POOLED = ["car loan", "MA employment", "California"]  # work from home has the scores and outcomes of car loan
MANY, PRICE = "credit cards", "car price"
ROUNDS = 3
Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """One run of one side: seconds, and for each metric value, low and high of every chunk."""

    fit: float
    estimate: float
    metrics: dict[str, dict[str, list[float]]]


def simulate(folder: Path) -> None:
    """One million reference rows and one million with shifted scores; the scores are not calibrated."""
    rng = np.random.default_rng(20240101)
    arrays: Arrays = {"rows": np.array(50_000), "labels": np.array(["1"])}
    for part, (a, b) in (("ref", (2.0, 3.0)), ("win", (2.2, 2.8))):
        p = rng.beta(a, b, 1_000_000)
        arrays[f"{part}_s"] = p**1.3
        arrays[f"{part}_p"] = (arrays[f"{part}_s"] > 0.4).astype(float)
        arrays[f"{part}_y"] = (rng.random(1_000_000) < p).astype(float)
    np.savez(folder / f"{SIMULATED}.npz", **arrays)  # type: ignore[arg-type]


def simulate_worlds(folder: Path) -> None:
    """Twenty worlds of 20 000 reference and 50 000 analysed rows, each with its own base rate, distortion and shift."""
    for seed, name in enumerate(WORLDS):
        rng = np.random.default_rng([77, seed])
        a, b, power, cut = rng.uniform(0.5, 3.0), rng.uniform(0.8, 5.0), rng.uniform(0.6, 1.6), rng.uniform(0.2, 0.5)
        shift = rng.uniform(0.9, 1.2)
        arrays: Arrays = {"rows": np.array(5000), "labels": np.array(["1"])}
        for part, n, first in (("ref", 20_000, a), ("win", 50_000, a * shift)):
            p = rng.beta(first, b, n)
            arrays[f"{part}_s"] = p**power
            arrays[f"{part}_p"] = (arrays[f"{part}_s"] > cut).astype(float)
            arrays[f"{part}_y"] = (rng.random(n) < p).astype(float)
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]


class Peer:
    """NannyML in a process of its own that stays up, so that imports are not timed."""

    def __init__(self, python: Path, folder: Path) -> None:
        command = [str(python), str(HERE / "nannyml_side.py"), str(folder)]
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
        )
        self._answer()

    def run(self, name: str) -> Answer:
        """Fit and estimate on a data set."""
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return Answer(**self._answer())

    def close(self) -> None:
        """End of input ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("NannyML's process ended; run nannyml_side.py by hand to see why")
        return json.loads(line)


def chunks(data: Arrays) -> list[slice]:
    """Whole chunks of the analysis rows."""
    rows = int(data["rows"])
    return [slice(i, i + rows) for i in range(0, len(data["win_y"]) // rows * rows, rows)]


def ours(name: str, data: Arrays) -> Answer:
    """Fit and estimate once."""
    ref = {c: data[f"ref_{c}"] for c in ("y", "p", "s", "x") if f"ref_{c}" in data}
    win = {c: data[f"win_{c}"] for c in ("p", "s", "x") if f"win_{c}" in data}
    start = time.perf_counter()
    estimate: Callable[[slice], Estimate]
    if name == PRICE:
        losses = LossModel.fit(ref["p"], ref["y"], ref["x"])
        fitted = time.perf_counter()
        estimate = lambda s: losses.estimate(win["p"][s], win["x"][s])  # noqa: E731
    elif name == MANY:
        many = Multiclass.fit([str(c) for c in data["labels"]], ref["s"], ref["p"], ref["y"])
        fitted = time.perf_counter()
        estimate = lambda s: many.estimate(win["s"][s], win["p"][s])  # noqa: E731
    else:
        model = Binary.fit(ref["s"].ravel(), ref["p"], ref["y"])
        fitted = time.perf_counter()
        estimate = lambda s: model.estimate(win["s"][s].ravel(), win["p"][s])  # noqa: E731
    found = [estimate(s) for s in chunks(data)]
    done = time.perf_counter()
    metrics: dict[str, dict[str, list[float]]] = {}
    for metric in ("mae", "rmse") if name == PRICE else ("roc_auc", "f1"):
        each = [e.metrics[metric] for e in found]
        metrics[metric] = {
            k: [float("nan") if v is None else v for v in (getattr(e, k) for e in each)]
            for k in ("value", "low", "high")
        }
    return Answer(fitted - start, done - fitted, metrics)


def realised(metric: str, data: Arrays) -> Floats:
    """The metric on each chunk once outcomes are known."""
    labels = [str(c) for c in data["labels"]]
    found = []
    for s in chunks(data):
        y, p = data["win_y"][s], data["win_p"][s]
        if metric in ("mae", "rmse"):
            error = np.abs(y - p)
            found.append(error.mean() if metric == "mae" else np.sqrt((error**2).mean()))
        elif len(labels) > 1 and metric == "roc_auc":
            score = data["win_s"][s]
            found.append(np.mean([roc_auc_score(y == c, score[:, k]) for k, c in enumerate(labels)]))
        elif metric == "roc_auc":
            found.append(roc_auc_score(y, data["win_s"][s].ravel()))
        else:
            found.append(f1_score(y, p, average="macro" if len(labels) > 1 else "binary"))
    return np.array(found, dtype=float)


@dataclass(frozen=True)
class Score:
    """Absolute errors of both sides on the same chunks, and whether each interval held the truth."""

    theirs: Floats
    mine: Floats
    held: tuple[Floats, Floats]

    def line(self, name: str, metric: str) -> str:
        """A row of the table of errors."""
        gap = self.mine - self.theirs
        digits = 2 if metric in ("mae", "rmse") else 5
        return (
            f"| {name} | {metric} | {len(gap)} | {self.theirs.mean():.{digits}f} | {self.mine.mean():.{digits}f} "
            f"| {gap.mean():+.{digits}f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.{digits}f} "
            f"| {self.held[0].mean():.0%} | {self.held[1].mean():.0%} |"
        )


def score(metric: str, data: Arrays, theirs: Answer, mine: Answer) -> Score:
    """Both sides against the truth."""
    truth = realised(metric, data)
    errors, held = [], []
    for answer in (theirs, mine):
        value, low, high = (np.array(answer.metrics[metric][k])[: len(truth)] for k in ("value", "low", "high"))
        errors.append(np.abs(value - truth))
        held.append(((low <= truth) & (truth <= high)).astype(float))
    return Score(errors[0], errors[1], (held[0], held[1]))


def print_errors(sets: dict[str, Arrays], theirs: dict[str, list[Answer]], mine: dict[str, list[Answer]]) -> None:
    """Table of errors and coverage, and NannyML's binary sets taken together."""
    print("\n| data set | metric | chunks | error NannyML | error Afterfit | difference ± se | held N | held A |")
    print("|---|---|---|---|---|---|---|---|")
    pooled: dict[str, list[Score]] = {}
    for name, data in sets.items():
        for metric in mine[name][0].metrics:
            found = score(metric, data, theirs[name][0], mine[name][0])
            print(found.line(name, metric))
            if name in POOLED:
                pooled.setdefault(metric, []).append(found)
    for metric, each in pooled.items():
        held = [np.concatenate([s.held[i] for s in each]) for i in (0, 1)]
        both = Score(
            np.concatenate([s.theirs for s in each]), np.concatenate([s.mine for s in each]), (held[0], held[1])
        )
        print(both.line("its three distinct binary sets", metric))


def print_worlds(fresh: dict[str, Arrays], theirs: dict[str, list[Answer]], mine: dict[str, list[Answer]]) -> None:
    """Twenty untuned worlds. Chunks of a world share its reference, so a world is one observation for the se."""
    print("\n| worlds | metric | error NannyML | error Afterfit | difference ± se | better in | held N | held A |")
    print("|---|---|---|---|---|---|---|---|")
    for metric in ("roc_auc", "f1"):
        each = [score(metric, data, theirs[name][0], mine[name][0]) for name, data in fresh.items()]
        a, b = (np.array([getattr(s, side).mean() for s in each]) for side in ("theirs", "mine"))
        held = [np.mean([s.held[i].mean() for s in each]) for i in (0, 1)]
        gap = b - a
        print(
            f"| {len(each)} | {metric} | {a.mean():.5f} | {b.mean():.5f} "
            f"| {gap.mean():+.5f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.5f} "
            f"| {int((gap < 0.0).sum())} | {held[0]:.0%} | {held[1]:.0%} |"
        )


def print_times(sets: dict[str, Arrays], theirs: dict[str, list[Answer]], mine: dict[str, list[Answer]]) -> None:
    """Table of times: medians of the rounds."""
    print("\n| data set | reference + analysed rows | NannyML fit + estimate, s | Afterfit, s | times faster |")
    print("|---|---|---|---|---|")
    for name, data in sets.items():
        both = [
            (statistics.median(a.fit for a in side[name]), statistics.median(a.estimate for a in side[name]))
            for side in (theirs, mine)
        ]
        rows = f"{len(data['ref_y']):,} + {len(data['win_y']):,}"
        times = [f"{fit:.3f} + {estimate:.3f}" for fit, estimate in both]
        print(f"| {name} | {rows} | {times[0]} | {times[1]} | {sum(both[0]) / sum(both[1]):.0f} |")


def main() -> None:
    """Run both sides in turn, three rounds, and print two tables."""
    folder = cache() / "estimate"
    folder.mkdir(exist_ok=True)
    python = python_with("nannyml", *WANTED)
    simulate(folder)
    simulate_worlds(folder)
    peer = Peer(python, folder)
    names = [*BINARY, MANY, PRICE]
    sets: dict[str, Arrays] = {name: dict(np.load(folder / f"{name}.npz")) for name in names}
    theirs: dict[str, list[Answer]] = {name: [] for name in names}
    mine: dict[str, list[Answer]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            theirs[name].append(peer.run(name))
            mine[name].append(ours(name, sets[name]))
    fresh: dict[str, Arrays] = {name: dict(np.load(folder / f"{name}.npz")) for name in WORLDS}
    for name, data in fresh.items():  # once: for the errors, not for the times
        theirs[name], mine[name] = [peer.run(name)], [ours(name, data)]
    peer.close()
    print_errors(sets, theirs, mine)
    print_worlds(fresh, theirs, mine)
    print_times(sets, theirs, mine)


if __name__ == "__main__":
    main()
