"""How a version is asked: its lane (a verified graph, a bare array, or a frame), why, and how a row becomes numbers.

`lane.json` and `graph.onnx` lie in the version's `model/` folder, so the hash that is checked before anything is loaded
covers them. Nothing here knows onnx, pandas or scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from afterfit.errors import StoreError
from afterfit.records import Feature, Value

ONNX, NUMPY, PYTHON = "onnx", "numpy", "python"  # python: through a pandas frame, as the model was trained
RECORD, GRAPH = "lane.json", "graph.onnx"
INPUT, OUTPUT = "rows", "answers"  # of a graph
UNSEEN = -1.0  # code of a text that the model does not know
NARROW = ("float32", "Float32")


@dataclass(frozen=True, slots=True)
class Column:
    """A feature on its way into the matrix. Text becomes its code, everything else a 64-bit float; a null is NaN."""

    name: str
    codes: Mapping[str, float] | None = None  # None: no text
    other: float = UNSEEN  # what any other text becomes
    null: float = UNSEEN
    single: bool = False  # rounded to 32 bits first, like the column it was trained on
    bounds: tuple[float, float] | None = None  # of the integer type it was trained on


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """`lane.json`: which lane, why not a faster one, and what the trial of the graph or array showed."""

    lane: str
    why: str = ""  # why not a faster lane
    columns: tuple[Column, ...] = ()
    rows: int = 0  # tried, against the model itself
    largest_difference: float = 0.0  # of a score, or of a value relative to the spread of the values
    agreement: float = 0.0  # share of rows with the same label (and, within the tolerance, scores) or both an error
    raises: str = ""  # what the model says to rows that the trial saw it refuse
    seconds: float = 0.0  # that conversion and trial took
    size: int = 0  # bytes of the graph

    @property
    def trial(self) -> str:
        """The trial in one line; empty where there was none."""
        if not self.rows:
            return ""
        return (
            f"{self.rows} rows tried, {self.agreement:.2%} the same, largest difference {self.largest_difference:.1e}, "
            f"{self.seconds:.1f} s, graph of {self.size:,} bytes"
        )


class Matrix:
    """Columns by name, as a request brings them, into the matrix (n_rows, n_features) of 64-bit floats.

    >>> Matrix([Column("a"), Column("b", {"x": 0.0, "y": 1.0})]).of({"a": [1, None], "b": ["y", "?"]})
    array([[ 1.,  1.],
           [nan, -1.]])
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._columns = [(i, c.name, _texts(c)) for i, c in enumerate(columns)]
        self._single = [i for i, c in enumerate(columns) if c.single]
        self._bounds = [(i, c.name, *c.bounds) for i, c in enumerate(columns) if c.bounds is not None]

    def of(self, columns: Mapping[str, Sequence[Value]]) -> np.ndarray:
        """The matrix.

        Raises:
            KeyError: a feature is not among the columns.
            OverflowError: an integer does not fit the type that the model was trained on.
            TypeError, ValueError: a value of the wrong kind; the gateway's signature lets none pass.
        """
        n_rows = len(columns[self._columns[0][1]]) if self._columns else 0
        if n_rows == 1:
            row = [columns[name][0] if codes is None else codes[columns[name][0]] for _, name, codes in self._columns]
            matrix = np.array([row], dtype=np.float64)
        else:
            matrix = np.empty((n_rows, len(self._columns)))
            for i, name, codes in self._columns:
                values = columns[name]
                matrix[:, i] = values if codes is None else [codes[v] for v in values]
        if self._single:
            with np.errstate(over="ignore"):
                matrix[:, self._single] = matrix[:, self._single].astype(np.float32)
        for i, name, low, high in self._bounds:
            outside = (matrix[:, i] < low) | (matrix[:, i] > high)
            if outside.any():
                raise OverflowError(f"feature {name!r} is {matrix[outside, i][0]:.0f}; wanted {low:.0f} to {high:.0f}")
        return matrix


class _Codes(dict[Value, float]):
    """Codes of texts; any text that is not listed has the code `other`."""

    def __init__(self, column: Column, codes: Mapping[str, float]) -> None:
        super().__init__()
        self.update(codes.items())
        self[None] = column.null
        self._other = column.other

    def __missing__(self, _text: Value) -> float:
        return self._other


def column_of(feature: Feature) -> Column:
    """How a feature that is no text gets into the matrix."""
    if feature.kind == "integer" and feature.dtype.lower() != "int64":
        low, high = bounds_of(feature)
        return Column(feature.name, bounds=(float(low), float(high)))
    return Column(feature.name, single=feature.dtype in NARROW)


def bounds_of(feature: Feature) -> tuple[int, int]:
    """The smallest and the largest whole number that a feature may be: of its type in training, and of a request's 64 bits.

    >>> bounds_of(Feature("age", "integer", "UInt8"))
    (0, 255)
    """
    limits = np.iinfo(feature.dtype.lower())
    return max(int(limits.min), -(2**63)), min(int(limits.max), 2**63 - 1)


def width_of(classes: Sequence[Value] | None) -> int:
    """Columns of a graph's answer: the value; the second of two classes' shares; or the share of each class."""
    return 1 if classes is None or len(classes) == 2 else len(classes)


def _texts(column: Column) -> _Codes | None:
    return None if column.codes is None else _Codes(column, column.codes)


def read_lane(folder: Path | str) -> LaneRecord:
    """The lane of a version's folder; the Python lane where none was chosen (an older release, or an unverified one).

    Raises:
        StoreError: the record is there and can't be read.
    """
    path = Path(folder) / "model" / RECORD
    if not path.exists():
        return LaneRecord(PYTHON, "registered before there were other lanes")
    try:
        return msgspec.json.decode(path.read_bytes(), type=LaneRecord)
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{path} can't be read: {error}; restore it, or register the version again") from error
