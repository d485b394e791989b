"""Runs inside River's own environment: `streams` writes its generators' rows, `detect` runs its detectors on losses.

The detectors run behind Afterfit's adapter, which needs nothing but River. Each answers with the first live row at which
it alarms, at every step of its ladder of thresholds.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from river import drift
from river.datasets import synth
from scipy.stats import ks_2samp

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from afterfit.adapters.river_detectors import RiverDetector

Rows = Iterator[tuple[dict[Any, Any], Any]]
# detector: (loss, parameter that is its threshold, the ladder from loose to strict; the default stands in DEFAULTS)
LADDERS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "ADWIN 0/1": ("error", "delta", (0.3, 0.05, 0.002, 1e-4, 1e-6, 1e-9, 1e-13, 1e-18)),
    "ADWIN log": ("log", "delta", (0.3, 0.05, 0.002, 1e-4, 1e-6, 1e-9, 1e-13, 1e-18)),
    "PageHinkley 0/1": ("error", "threshold", (5, 10, 20, 35, 50, 75, 100, 200)),
    "PageHinkley log": ("log", "threshold", (10, 20, 35, 50, 75, 100, 200, 400)),
    "DDM": ("error", "drift_threshold", (2.5, 3, 3.5, 4, 4.5, 5, 6, 8)),
    "EDDM": ("error", "beta", (0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.3)),
    "HDDMA": ("error", "drift_confidence", (0.01, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9, 1e-12, 1e-16)),
    "HDDMW": ("error", "drift_confidence", (0.01, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9, 1e-12, 1e-16)),
    "KSWIN": ("log", "alpha", (0.02, 0.005, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)),
}
DEFAULTS = {
    "delta": 0.002, "threshold": 50, "drift_threshold": 3, "beta": 0.9, "drift_confidence": 1e-3, "alpha": 0.005
}  # fmt: skip
RAMP = 2000  # rows that a gradual change takes
SPELL = 1000  # rows that a recurring concept stays, and stays away
NOISE = 0.1  # share of wrong labels in SEA; of labels that "flip" turns round
WALK = 0.01  # step of Hyperplane's moving weights, a row
SPEED = 0.0001  # of RandomRBFDrift's centroids, a row


def concept(kind: str, after: bool, seed: int) -> Rows:
    """Endless rows of one concept."""
    if kind == "sea":
        return iter(synth.SEA(variant=3 if after else 0, noise=NOISE, seed=seed))
    if kind == "stagger":
        return iter(synth.STAGGER(classification_function=int(after), seed=seed))
    if kind == "agrawal":
        return iter(synth.Agrawal(classification_function=2 if after else 0, perturbation=0.1, seed=seed))
    if kind in ("hyperplane", "flip"):
        return iter(synth.Hyperplane(seed=seed, mag_change=0.0))
    return iter(synth.RandomRBF(seed_model=seed, seed_sample=seed, n_features=10, n_centroids=20))


def rows_of(stream: dict[str, Any], change: int, rows: int) -> Rows:
    """`rows` rows with the change at the row `change`."""
    kind, shape, seed = stream["kind"], stream["shape"], stream["seed"]
    old = concept(kind, False, seed)
    if shape == "stationary":
        return islice(old, rows)
    if shape == "incremental":
        return _moving(kind, seed, change, rows)
    return _mixed(kind, shape, seed, change, rows)


def _moving(kind: str, seed: int, change: int, rows: int) -> Rows:
    if kind == "hyperplane":
        made, speed, name = synth.Hyperplane(seed=seed, mag_change=0.0), WALK, "mag_change"
    else:
        made = synth.RandomRBFDrift(
            seed_model=seed, seed_sample=seed, n_features=10, n_centroids=20, n_drift_centroids=20, change_speed=0.0
        )
        speed, name = SPEED, "change_speed"
    endless = iter(made)
    yield from islice(endless, change)
    setattr(made, name, speed)  # the generator reads it at each row
    yield from islice(endless, rows - change)


def _mixed(kind: str, shape: str, seed: int, change: int, rows: int) -> Rows:
    old, new = concept(kind, False, seed), concept(kind, True, seed + 10_000)
    rng = random.Random(seed + 20_000)
    for row in range(rows):
        since = row - change
        share = 0.0 if since < 0 else 1.0
        if shape == "gradual":
            share = min(1.0, max(0.0, since / RAMP))
        elif shape == "recurring":
            share *= since // SPELL % 2 == 0
        changed = rng.random() < share
        if kind == "flip":
            x, y = next(old)
            yield x, int(y) ^ int(changed and rng.random() < NOISE)
        else:
            yield next(new if changed else old)


def write_streams(job: dict[str, Any]) -> None:
    """`<name>.npz` with x (n, d) and y (n,) of each stream."""
    for stream in job["streams"]:
        if stream["shape"] == "file":
            continue
        found = list(rows_of(stream, stream["change"], stream["rows"]))
        x = np.array([[float(v) for v in row.values()] for row, _ in found])
        if stream["kind"] == "stagger":  # three categories of three values each
            x = np.concatenate([(x[:, [j]] == np.arange(3)).astype(float) for j in range(3)], axis=1)
        np.savez(Path(job["folder"]) / f"{stream['name']}.npz", x=x, y=np.array([int(y) for _, y in found]))


def detect(job: dict[str, Any], shard: int) -> dict[str, dict[str, list[int | None]]]:
    """{stream: {detector: [first live row with an alarm, or None, by step of the ladder]}} of every second stream."""
    _speed_up_kswin()
    answers: dict[str, dict[str, list[int | None]]] = {}
    for stream in job["streams"][shard::2]:
        losses = np.load(Path(job["folder"]) / f"{stream['name']} losses.npz")
        series = {name: (losses[f"reference_{name}"].tolist(), losses[name].tolist()) for name in ("error", "log")}
        mine = answers[stream["name"]] = {}
        for detector, (loss, parameter, ladder) in LADDERS.items():
            reference, live = series[loss]
            if detector == "KSWIN":
                mine[detector] = kswin(reference, live, ladder)
                continue
            watch: list[RiverDetector] = [_made(detector, parameter, step) for step in ladder]
            mine[detector] = [first_alarm(w.update, lambda w=w: w.alarm, w.reset, reference, live) for w in watch]
    return answers


def _made(detector: str, parameter: str, step: float) -> RiverDetector:
    return RiverDetector(detector.split(maxsplit=1)[0], **{parameter: step})


def first_alarm(
    update: Callable[[float], None],
    alarm: Callable[[], bool],
    reset: Callable[[], None],
    reference: list[float],
    live: list[float],
) -> int | None:
    """The detector sees the reference first, and begins anew when it alarms there."""
    for value in reference:
        update(value)
        if alarm():
            reset()
    for row, value in enumerate(live):
        update(value)
        if alarm():
            return row
    return None


def kswin(reference: list[float], live: list[float], ladder: tuple[float, ...]) -> list[int | None]:
    """One run at a threshold that nothing passes tells the first alarm at all others: up to then they are the same.

    Its second condition, a distance above 0.1, always holds where the p-value is below 0.02.
    """
    watch = drift.KSWIN(alpha=0.0, seed=0)
    found: list[int | None] = [None] * len(ladder)
    for value in reference[-2 * watch.window_size :]:
        watch.update(value)
    for row, value in enumerate(live):
        watch.update(value)
        for step, alpha in enumerate(ladder):
            if found[step] is None and watch.p_value <= alpha:
                found[step] = row
        if found[-1] is not None:
            break
    return found


_KNOWN: dict[int, float] = {}  # p-value by 30 times the distance of two samples of 30


def _speed_up_kswin() -> None:
    """ks_2samp spends 0.4 ms on a call; for two samples of 30 there are 31 answers, which are looked up."""
    grid = np.arange(30.0)
    for k in range(31):  # the k smallest of the first sample moved beyond the second: a distance of k / 30
        moved = np.concatenate([grid[k:], grid[:k] + 100])
        with (
            warnings.catch_warnings()
        ):  # the exact p-value of a large distance is beyond scipy; it says so, as in KSWIN
            warnings.simplefilter("ignore", RuntimeWarning)
            found = ks_2samp(grid, moved)
        _KNOWN[round(found.statistic * 30)] = float(found.pvalue)

    def looked_up(a: list[float], b: list[float], method: str) -> tuple[float, float]:
        both = np.sort(np.concatenate([a, b]))
        gap = np.searchsorted(np.sort(a), both, "right") - np.searchsorted(np.sort(b), both, "right")
        k = int(np.abs(gap).max())
        return k / 30, _KNOWN[k]

    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (rng.normal(rng.random() * 2, 1, 30).round(1).tolist() for _ in range(2))
        statistic, p_value = looked_up(a, b, "auto")
        same = ks_2samp(a, b, method="auto")
        if abs(statistic - same.statistic) > 1e-12 or p_value != same.pvalue:
            raise SystemExit("the looked-up Kolmogorov-Smirnov test differs from scipy's")
    sys.modules["river.drift.kswin"].stats = type("Stats", (), {"ks_2samp": staticmethod(looked_up)})


if __name__ == "__main__":
    what, path, *rest = sys.argv[1:]
    told = json.loads(Path(path).read_text(encoding="utf-8"))
    if what == "streams":
        write_streams(told)
    else:
        Path(rest[1]).write_text(json.dumps(detect(told, int(rest[0]))), encoding="utf-8")
