"""A model that answers elsewhere: an HTTP model server of your own, asked by the worker process of its version.

To Afterfit it is a model like any other, with the same shadow, canary, log and fallback; a server that hangs, dies or
answers nonsense is a version that does. Its golden rows are asked when the version is loaded, so a server that answers
something else by then is found before it is routed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.errors import InputError, WorkerError, list_known
from afterfit.records import Value

if TYPE_CHECKING:
    import httpx
    import pandas as pd

TOGETHER = 200  # rows a request
PROTOCOLS = ("mlflow", "v2")
_SAID = 200  # characters of a refusal that are told


class Upstream:
    """A running model server, for :func:`afterfit.register`.

    Args:
        url: the address that answers: for `mlflow` it ends in `/invocations`, for `v2` (the Open Inference Protocol, spoken
            by MLServer, Triton, KServe and Afterfit) in `/infer`.
        protocol: `mlflow` or `v2`. For a server with JSON of its own, override `body` and `read` in a subclass.
        classes: the labels of a classifier, in the order of its probabilities; None: a regression. The server must answer
            probabilities then: MLflow models logged with `pyfunc_predict_fn="predict_proba"`; a v2 output `predict_proba`.
        timeout: seconds that a request of at most 200 rows may take. Keep it below the rollout's `timeout`: then a slow
            server costs an answer and not the worker process too.
        token_env: the environment variable that holds the server's bearer token, where it wants one. Its name is kept with
            the version, the token nowhere: the processes that register and that serve find it in their environment.

    Raises:
        InputError: an unknown protocol, or not an http(s) address.

    >>> Upstream("http://localhost:5001/invocations", classes=["no", "yes"]).body({"size": [1.0, None]})
    {'dataframe_split': {'columns': ['size'], 'data': [[1.0], [None]]}}
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: str = "mlflow",
        classes: Sequence[Value] | None = None,
        timeout: float = 0.9,
        token_env: str | None = None,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise InputError(
                f"protocol = {protocol!r}; {list_known(protocol, PROTOCOLS)}. Override body and read for one of your own"
            )
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"url = {url!r}: wanted the address that answers, such as http://localhost:5001/invocations"
            )
        self.url = url
        self.protocol = protocol
        self.timeout = timeout
        self.token_env = token_env
        if classes is not None:
            self.classes_ = np.array(classes)
        self._client: httpx.Client | None = None
        self._last: tuple[Any, np.ndarray] | None = None  # a frame and its answers, which predict() needs again

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Labels, or values of a regression, shape (n_rows,)."""
        if not hasattr(self, "classes_"):
            return self._ask(frame).reshape(len(frame))
        return np.asarray(self.classes_[self.predict_proba(frame).argmax(axis=1)])

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        """Probabilities (n_rows, n_classes)."""
        if self._last is not None and self._last[0] is frame:
            return self._last[1]
        scores = self._ask(frame)
        if len(self.classes_) == 2 and scores.size == len(frame):
            scores = np.column_stack([1.0 - scores.reshape(-1), scores.reshape(-1)])
        if scores.shape != (len(frame), len(self.classes_)):
            raise WorkerError(
                f"{self.url} answered shape {scores.shape}, wanted a probability for each of {len(self.classes_)} classes "
                '(an MLflow model is logged with pyfunc_predict_fn="predict_proba" for that)'
            )
        self._last = (frame, scores)
        return scores

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What is logged as the version's parameters."""
        return {"url": self.url, "protocol": self.protocol, "timeout": self.timeout, "token_env": self.token_env}

    def body(self, columns: dict[str, list[Value]]) -> dict[str, Any]:
        """The request for these columns, JSON-able."""
        if self.protocol == "mlflow":
            return {
                "dataframe_split": {
                    "columns": list(columns),
                    "data": list(map(list, zip(*columns.values(), strict=True))),
                }
            }
        inputs = [
            {"name": name, "shape": [len(values), 1], "datatype": _datatype(values), "data": values}
            for name, values in columns.items()
        ]
        wanted = "predict_proba" if hasattr(self, "classes_") else "predict"
        return {"parameters": {"content_type": "pd"}, "inputs": inputs, "outputs": [{"name": wanted}]}

    def read(self, reply: Any, n_rows: int) -> Any:
        """The numbers of a reply, one or one a class for each row."""
        if self.protocol == "mlflow":
            return reply["predictions"]
        output = reply["outputs"][0]
        return np.asarray(output["data"], dtype=float).reshape(n_rows, -1)

    def _ask(self, frame: pd.DataFrame) -> np.ndarray:
        columns = _columns(frame)
        parts = []
        for start in range(0, len(frame), TOGETHER):
            part = {name: values[start : start + TOGETHER] for name, values in columns.items()}
            parts.append(self._post(part, min(TOGETHER, len(frame) - start)))
        return np.concatenate(parts)

    def _post(self, columns: dict[str, list[Value]], n_rows: int) -> np.ndarray:
        import httpx

        if self._client is None:
            self._client = httpx.Client(timeout=self.timeout, trust_env=False)
        try:
            reply = self._client.post(self.url, json=self.body(columns), headers=self._headers())
        except httpx.HTTPError as error:
            raise WorkerError(f"{self.url} does not answer: {type(error).__name__}: {error}") from error
        if reply.status_code != 200:
            raise WorkerError(f"{self.url} refused with {reply.status_code}: {reply.text[:_SAID]}")
        try:
            found = np.asarray(self.read(json.loads(reply.content), n_rows), dtype=float)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise WorkerError(
                f"{self.url} answered what is no reply of numbers in the protocol {self.protocol}: "
                f"{reply.text[:_SAID]!r} ({type(error).__name__}: {error})"
            ) from error
        if len(found) != n_rows:
            raise WorkerError(f"{self.url} answered {len(found)} rows, wanted {n_rows}")
        return found

    def _headers(self) -> dict[str, str]:
        if self.token_env is None:
            return {}
        token = os.environ.get(self.token_env)
        if not token:
            raise WorkerError(
                f"{self.url} is asked with the token in the environment variable {self.token_env}, which is not set in this "
                "process: set it where the gateway and `afterfit.register` run"
            )
        return {"authorization": f"Bearer {token}"}

    def __del__(self) -> None:
        if getattr(self, "_client", None) is not None:
            self._client.close()  # type: ignore[union-attr]  # it is there

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection: each process makes its own."""
        return {**self.__dict__, "_client": None, "_last": None}


def _columns(frame: pd.DataFrame) -> dict[str, list[Value]]:
    if not hasattr(frame, "columns"):
        raise WorkerError("an upstream server is asked by the names of its features; found an array without names")
    from afterfit.adapters.frames import as_lists

    return as_lists(frame)


def _datatype(values: list[Value]) -> str:
    """Of the first value that is no null: a column has one kind."""
    first = next((v for v in values if v is not None), 0.0)
    if isinstance(first, bool):
        return "BOOL"
    if isinstance(first, str):
        return "BYTES"
    return "INT64" if isinstance(first, int) and None not in values else "FP64"
