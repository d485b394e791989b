"""How much memory the process of a version will take, told from the size of its files before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from afterfit.adapters.lane import ONNX, read_lane

BASE = 200.0  # MB that a process takes for a model of no size: the interpreter, pandas and scikit-learn
FACTOR = 3.4  # MB a MB of files, at the peak of loading and probing. Seen: forests 3.0 to 3.4, neighbours 3.1, boosting 2.7, networks 1.8
_MB = 2.0**20


def expected_memory(folder: Path | str) -> float | None:
    """MB at the peak, on the high side; None for a graph, which is asked within the gateway.

    What a version really took is measured once it is loaded (`afterfit status`), before it has callers.

    Raises:
        StoreError: `lane.json` is there and can't be read.
    """
    if read_lane(folder).lane == ONNX:
        return None
    files = [path.stat().st_size for path in (Path(folder) / "model").rglob("*") if path.is_file()]
    return BASE + FACTOR * sum(files) / _MB
