"""`bare.py MODEL_FOLDER [GRAPH_FOLDER]`: the model in process, without a server, as JSON.

One row at a time (rows ready: an array, or a frame for the pipeline), one row at a time through the ONNX graph (from a
dict), and the vectorised call on all rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import joblib
import pandas as pd

SECONDS = 1.0  # for the single rows
TIMES = 7  # for all rows


def timed(call: Callable[[Any], Any], rows: list[Any]) -> dict[str, float]:
    """p50 and p99 of one row, in ms."""
    for row in rows[:20]:
        call(row)
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        row = rows[len(took) % len(rows)]
        began = time.perf_counter()
        call(row)
        took.append((time.perf_counter() - began) * 1000.0)
    return {"p50_ms": median(took), "p99_ms": quantiles(took, n=100)[98]}


def main(folder: str, graph: str = "") -> None:
    model = joblib.load(Path(folder) / "model.joblib")
    records = json.loads((Path(folder) / "rows.json").read_text(encoding="utf-8"))
    told = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
    frame = pd.DataFrame(records)
    data = frame if "text" in told["columns"].values() else frame.to_numpy()
    single = [data[i : i + 1] for i in range(200)]
    found: dict[str, Any] = {"python": timed(model.predict_proba, single)}
    if graph:
        os.environ |= {"BENCH_MODEL": folder, "BENCH_GRAPH": graph}
        sys.path.insert(0, str(Path(__file__).parent / "apps"))
        import raw

        found["graph"] = timed(raw.answer, [[row] for row in records[:200]])
    batch = []
    for _ in range(TIMES):
        began = time.perf_counter()
        model.predict_proba(data)
        batch.append(time.perf_counter() - began)
    print(json.dumps(found | {"batch_s": median(batch)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
