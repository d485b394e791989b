"""The same rows in the words of each server, and the probabilities of class 1 in what it replies. Nothing is sent here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Dialect:
    """How a server is asked for some rows, and how its answer is read."""

    ask: Callable[[Sequence[Row]], Any]
    read: Callable[[Any], list[float]]

    def body(self, rows: Sequence[Row]) -> bytes:
        """JSON on one line."""
        return json.dumps(self.ask(rows), separators=(",", ":")).encode()

    def answers(self, reply: bytes) -> list[float]:
        """Probabilities of class 1.

        Raises:
            ValueError: the reply is not what this server answers.
        """
        try:
            return [float(p) for p in self.read(json.loads(reply))]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"not understood ({type(error).__name__}): {reply[:300]!r}") from error


def _values(rows: Sequence[Row]) -> list[list[Any]]:
    return [list(row.values()) for row in rows]


def _records(rows: Sequence[Row]) -> Any:
    return {"rows": list(rows)}


def _second(pairs: Sequence[Sequence[float]]) -> list[float]:
    return [pair[1] for pair in pairs]


def _v2_tensor(rows: Sequence[Row]) -> Any:
    flat = [value for row in rows for value in row.values()]
    tensor = {"name": "rows", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": flat}
    return {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}


def _v2_columns(rows: Sequence[Row]) -> Any:
    """One input a column, which MLServer turns into a frame."""
    inputs = []
    for name, example in rows[0].items():
        text = isinstance(example, str)
        column = {"name": name, "shape": [len(rows), 1], "datatype": "BYTES" if text else "FP64"}
        column["data"] = [row[name] for row in rows]
        inputs.append(column | ({"parameters": {"content_type": "str"}} if text else {}))
    return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": [{"name": "predict_proba"}]}


def _v2_read(reply: Any) -> list[float]:
    flat: list[float] = reply["outputs"][0]["data"]
    return flat[1::2]


OURS = Dialect(_records, lambda reply: _second([p["scores"] for p in reply["predictions"]]))
PLAIN = Dialect(_records, lambda reply: list(reply["probabilities"]))
V2_TENSOR, V2_COLUMNS = Dialect(_v2_tensor, _v2_read), Dialect(_v2_columns, _v2_read)
INPUTS = Dialect(lambda rows: {"inputs": _values(rows)}, lambda reply: _second(reply["predictions"]))
SPLIT = Dialect(
    lambda rows: {"dataframe_split": {"columns": list(rows[0]), "data": _values(rows)}},
    lambda reply: _second(reply["predictions"]),
)
BENTO_ARRAY = Dialect(lambda rows: {"rows": _values(rows)}, _second)
BENTO_FRAME = Dialect(_records, _second)
