"""A graph in onnxruntime that answers columns as `model_folder.Scorer` does, in microseconds, without any pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from afterfit.adapters.lane import GRAPH, INPUT, OUTPUT, Column, Matrix, read_lane
from afterfit.adapters.model_folder import check_hash, probe, read_version
from afterfit.errors import WorkerError
from afterfit.records import Value

_FATAL = 4  # log level: what goes wrong is raised, so it need not be printed too


def open_graph(folder: Path | str, sha256: str) -> GraphScorer:
    """The graph of a version, ready: its files are the registered ones, and the golden rows come out as they did then.

    Raises:
        ChangedError: the files are not the registered ones.
        WorkerError: the golden rows come out otherwise.
        RuntimeError: onnxruntime can't open it (a subclass of its own).
    """
    path = check_hash(folder, sha256)
    version, lane = read_version(folder), read_lane(folder)
    scorer = GraphScorer((path / GRAPH).read_bytes(), lane.columns, version.classes, raises=lane.raises)
    probe(version, scorer.answer)
    return scorer


class GraphScorer:
    """An opened graph.

    Args:
        graph: serialised ONNX model from `rows` (n_rows, n_features) to `answers` (n_rows, `lane.width_of`).
        columns: how a request's columns become `rows`.
        classes: of the version; None for a regression.
        raises: what the model said to rows of the trial that it refused; repeated to callers who send such rows.

    Raises:
        RuntimeError: onnxruntime can't open it (a subclass of its own).
    """

    def __init__(
        self, graph: bytes, columns: Sequence[Column], classes: Sequence[Value] | None, *, raises: str = ""
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena would keep the memory of the largest batch for good
        options.log_severity_level = _FATAL
        self._run = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run
        self._matrix = Matrix(columns)
        self._classes = classes
        self._raises = raises

    def answer(self, columns: Mapping[str, Sequence[Value]]) -> tuple[list[Value], list[list[float]] | None]:
        """(predictions, scores) of each row; scores are None for a regression.

        Raises:
            WorkerError: a feature is missing, a value does not fit, or the model would have raised.
        """
        try:
            found: np.ndarray = self._run((OUTPUT,), {INPUT: self._matrix.of(columns)})[0]
        except KeyError as error:
            raise WorkerError(f"wants a feature that the request lacks: {error}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise WorkerError(f"the rows do not fit the model's dtypes: {error}") from error
        if len(found) == 1:
            return self._one(found[0].tolist())
        if not np.isfinite(found).all():
            raise self._no_answer()
        if self._classes is None:
            return found[:, 0].tolist(), None
        if found.shape[1] == 1:
            found = np.hstack([1.0 - found, found])
        return [self._classes[i] for i in found.argmax(axis=1).tolist()], found.tolist()

    def _one(self, numbers: list[float]) -> tuple[list[Value], list[list[float]] | None]:
        if not all(map(math.isfinite, numbers)):
            raise self._no_answer()
        if self._classes is None:
            return [numbers[0]], None
        if len(numbers) == 1:
            numbers.insert(0, 1.0 - numbers[0])
        return [self._classes[numbers.index(max(numbers))]], [numbers]

    def _no_answer(self) -> WorkerError:
        if self._raises:
            return WorkerError(
                f"the model refuses such a row, as it did one of its trial at registration: {self._raises}"
            )
        return WorkerError("returned NaN or infinity")
