"""How much memory a version will take, told from the size of its files before anything is loaded; and how much is free."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil

from afterfit.adapters.lane import GRAPH, ONNX, read_lane

BASE = 200.0  # MB that a process takes for a model of no size: the interpreter, pandas and scikit-learn
FACTOR = 3.4  # MB a MB of files, at the peak of loading and probing. Seen: forests 3.0 to 3.4, neighbours 3.1, boosting 2.7, networks 1.8
# Of graphs, what the peak lies above the process before: opening, one row, and 10,000 rows as a gateway asks for them.
# Seen in MB, at 32 models: onnxruntime itself 30, and up to 13 for the rows.
GRAPH_BASE = 50.0
# MB a MB of the graph, beyond the 30. Seen: forests 20.6 to 21.1 (2 to 52 MB), HistGradientBoosting and LightGBM 20 to 21 (1 to
# 7 MB), XGBoost, whose thresholds have 32 bits, 26; what is kept once it is open is a quarter of that.
TREES_FACTOR = 27.0
MATRICES_FACTOR = 5.0  # the same of graphs without trees. Seen: networks 3.7 to 4.6 (8 to 34 MB), 1,000 one-hot columns and 20 classes 5.1
_TREES = b"TreeEnsemble"  # an operator's name
_HEAD = 2**20  # the bytes in which it stands: nodes come before constants
_MB = 2.0**20
_CONTAINER = Path("/sys/fs/cgroup")


class Expected(NamedTuple):
    """At the peak, on the high side, in MB."""

    process: float  # that a process of its own takes; a graph has one only while it scores copies of rows
    gateway: float = 0.0  # that a graph adds to the process of each gateway

    @property
    def most(self) -> float:
        """Both."""
        return self.process + self.gateway


def expected_memory(folder: Path | str) -> Expected:
    """What a version will take.

    For a graph it is too low where rows become much wider within it, which its size does not tell: products of 60 columns
    (PolynomialFeatures, 1,891 columns of 0.1 MB) took 115 MB for 10,000 rows, wanted 50; and for more than some 600 columns.
    What a process took is measured once it is loaded (`afterfit status`), before it has callers.

    Raises:
        StoreError: `lane.json` is there and can't be read.
    """
    model = Path(folder) / "model"
    if read_lane(folder).lane == ONNX:
        added = _graph(model / GRAPH)
        return Expected(BASE + added, added)
    return Expected(BASE + FACTOR * sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) / _MB)


def free_memory() -> float:
    """MB that processes may still take on this machine, or in the container that we are in, before it swaps or kills."""
    free = float(psutil.virtual_memory().available)
    try:
        limit, taken, stat = ((_CONTAINER / f"memory.{name}").read_text("ascii") for name in ("max", "current", "stat"))
    except OSError:  # no container, or no Linux
        return free / _MB
    if not limit.strip().isdigit():
        return free / _MB
    cached = dict(line.split() for line in stat.splitlines())["inactive_file"]  # given back when somebody wants it
    return min(free, float(limit) - float(taken) + float(cached)) / _MB


def _graph(file: Path) -> float:
    if not file.exists():
        return GRAPH_BASE  # it will be told why it can't be loaded
    with file.open("rb") as opened:
        factor = TREES_FACTOR if _TREES in opened.read(_HEAD) else MATRICES_FACTOR
    return GRAPH_BASE + factor * file.stat().st_size / _MB
