"""Raw ASGI and onnxruntime and nothing else: no validation, no routing, no log. What the machine allows, no peer.

The graph is the one that Afterfit made of the model: skl2onnx 1.20 has none for scikit-learn 1.9's HistGradientBoosting.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

FOLDER = Path(os.environ["BENCH_MODEL"])
decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


def _constant() -> Any:
    import joblib

    constant = float(joblib.load(FOLDER / "model.joblib").class_prior_[1])
    return lambda rows: [constant] * len(rows)


def _graph(folder: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "graph.onnx"), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    columns = json.loads((folder / "lane.json").read_text(encoding="utf-8"))["columns"]
    codes = [(c["name"], c["codes"]) for c in columns]

    def answer(rows: list[dict[str, Any]]) -> list[float]:  # the last column is class 1
        matrix = np.array([[r[c] if known is None else known[r[c]] for c, known in codes] for r in rows])
        return session.run(None, {name: matrix})[0][:, -1].tolist()

    return answer


answer = _graph(Path(os.environ["BENCH_GRAPH"])) if "BENCH_GRAPH" in os.environ else _constant()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    parts, more = b"", True
    while more:
        message = await receive()
        parts += message.get("body", b"")
        more = message.get("more_body", False)
    body = encode({"probabilities": answer(decode(parts)["rows"])})
    await send(HEAD)
    await send({"type": "http.response.body", "body": body})
