"""The child process that holds one version: reads columns from its socket, writes answers. It ends with its gateway."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before numpy is loaded; versions share the cores with each other
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from afterfit.adapters.environments import FOREIGN, note  # noqa: E402  the environment above comes first
from afterfit.adapters.lane import NUMPY, ONNX, PYTHON, read_lane  # noqa: E402
from afterfit.adapters.model_folder import Answer, ChangedError, Scorer, read_version  # noqa: E402
from afterfit.adapters.turns import let_others_go_first  # noqa: E402
from afterfit.errors import AfterfitError  # noqa: E402
from afterfit.gateway.channel import receive, send  # noqa: E402

_PR_SET_PDEATHSIG = 1


Ask = Callable[[Any], Answer]


def serve(channel: socket.socket, folder: Path, sha256: str, *, yields: bool) -> None:
    """Load, probe, say so, then answer until the other end is closed."""
    try:
        ask, lane, why = opened(folder, sha256)
    except AfterfitError as error:
        send(channel, {"failed": str(error)})
        return
    if yields:
        let_others_go_first()
    send(channel, {"ready": True, "lane": lane, "why": why})
    incoming = channel.makefile("rb")
    while (columns := receive(incoming)) is not None:
        send(channel, answer(ask, columns))


def opened(folder: Path, sha256: str) -> tuple[Ask, str, str]:
    """(how the version is asked, its lane here, why not a faster one): its graph, else the model itself.

    Raises:
        AfterfitError: the files are not the registered ones, or the model can't be loaded or fails its golden rows.
    """
    record = read_lane(folder)
    why = record.why
    if record.lane == ONNX:
        try:
            from afterfit.adapters.onnx_session import open_graph

            return open_graph(folder, sha256).answer, ONNX, ""
        except ChangedError:
            raise
        except Exception as error:  # noqa: BLE001  another onnxruntime may refuse the graph in any way
            why = f"its graph can't be used here: {error}"
    scorer = Scorer(read_version(folder), sha256=sha256)
    scorer.probe()
    why = "; ".join(filter(None, (why, _elsewhere(), note(folder / "model"))))
    return lambda columns: scorer.answer(scorer.rows(columns)), NUMPY if record.lane == NUMPY else PYTHON, why


def _elsewhere() -> str:
    """Whose interpreter this is, where it is not the gateway's."""
    return f"in an environment of its own, {sys.prefix}" if FOREIGN in os.environ else ""


def answer(ask: Ask, columns: Any) -> dict[str, Any]:
    """The reply to one call: `predictions` and `scores`, or `error`."""
    try:
        predictions, scores = ask(columns)
    except AfterfitError as error:
        return {"error": str(error)}
    except (TypeError, ValueError, OverflowError) as error:  # a value that does not fit the dtype of training
        return {"error": f"the rows do not fit the model's dtypes: {error}"}
    return {"predictions": predictions, "scores": scores}


def main() -> None:
    """Entry point of the child."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--gateway", type=int, required=True)
    parser.add_argument("--yields", action="store_true", help="nobody waits for it: others go first")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which stops us in order
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.gateway:
        return  # it died before the line above
    with socket.socket(fileno=options.fd) as channel:
        serve(channel, options.folder, options.sha256, yields=options.yields)


if __name__ == "__main__":
    main()
