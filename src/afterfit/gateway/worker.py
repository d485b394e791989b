"""The child process that holds one version: reads columns from its socket, writes answers. It ends with its gateway."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before numpy is loaded; versions share the cores with each other
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from afterfit.adapters.model_folder import Scorer, read_version  # noqa: E402  the environment above comes first
from afterfit.errors import AfterfitError  # noqa: E402
from afterfit.gateway.channel import receive, send  # noqa: E402

_PR_SET_PDEATHSIG = 1


def serve(channel: socket.socket, folder: Path, sha256: str) -> None:
    """Load, probe, say so, then answer until the other end is closed."""
    try:
        scorer = Scorer(read_version(folder), sha256=sha256)
        scorer.probe()
    except AfterfitError as error:
        send(channel, {"failed": str(error)})
        return
    send(channel, {"ready": True})
    incoming = channel.makefile("rb")
    while (columns := receive(incoming)) is not None:
        send(channel, answer(scorer, columns))


def answer(scorer: Scorer, columns: Any) -> dict[str, Any]:
    """The reply to one call: `predictions` and `scores`, or `error`."""
    try:
        predictions, scores = scorer.answer(scorer.rows(columns))
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
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which stops us in order
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.gateway:
        return  # it died before the line above
    with socket.socket(fileno=options.fd) as channel:
        serve(channel, options.folder, options.sha256)


if __name__ == "__main__":
    main()
