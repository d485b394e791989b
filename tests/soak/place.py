"""A home as a user has it: afterfit.toml, a training script, the command line, and `afterfit up` in a process of its own."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from afterfit.config import load
from afterfit.home import Home
from afterfit.lifecycle import State
from afterfit.loop import Loop
from tests.soak.rows import GRAPH, PLAIN
from tests.world import wait_for

ROOT = Path(__file__).parents[2]
TOML = """\
port = {port}
tick = "{tick}s"

[models.{name}]
task = "binary"
lane = "{lane}"
window = "2m"
outcome_delay = "5s"

[models.{name}.retrain]
triggers = []

[models.{name}.rollout]
canary = [0.2, 0.5]
margin = 0.05
min_pairs = 100
timeout = "5s"
"""
LANES = {GRAPH: "auto", PLAIN: "python"}
PATIENCE = 240.0  # seconds; the machine may be busy with the load


class Place:
    """One home with two models, and everything that runs on it.

    Args:
        folder: where afterfit.toml is written; emptied by nobody.
        tick: seconds between two looks of the controller.
    """

    def __init__(self, folder: Path, tick: int) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        first, second = (TOML.format(port=self.port, tick=tick, name=name, lane=LANES[name]) for name in LANES)
        (folder / "afterfit.toml").write_text(first + second.split("\n\n", 1)[1], encoding="utf-8")
        self.home = Home.open(load(folder / "afterfit.toml"))
        self._loop = Loop(self.home)
        self.up: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """`afterfit up`, and wait until both models answer."""
        with (self.folder / "up.log").open("a") as log:
            self.up = up = subprocess.Popen(
                [sys.executable, "-m", "afterfit.cli", "up"], cwd=self.folder, stdout=log, stderr=log, env=_environ()
            )
        wait_for(lambda: self._lists() == set(LANES) or up.poll() is not None, PATIENCE, "both models are served")
        assert up.poll() is None, (self.folder / "up.log").read_text(encoding="utf-8")

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        assert self.up is not None
        self.up.send_signal(signal.SIGINT)
        return self.up.wait(PATIENCE)

    def close(self) -> None:
        """End everything, however it stands."""
        if self.up is not None and self.up.poll() is None:
            self.up.terminate()
            self.up.wait(PATIENCE)
        self.home.close()

    def register(self, model: str, seed: int) -> int:
        """A new version."""
        return int(self._run("tests.soak.train", str(self.folder), model, str(seed)).split()[-1])

    def afterfit(self, *arguments: str) -> str:
        """The command line; what it said."""
        return self._run("afterfit.cli", *arguments)

    def state(self, model: str) -> State:
        """Where a model stands, by the ledger."""
        return self._loop.book(model).state

    def settled(self) -> bool:
        """Whether the gateway runs the published routes."""
        told = self.home.board.acknowledgements()
        return bool(told) and all(a.number >= self.home.board.current().number for a in told)

    def routed(self) -> set[str]:
        """Folders of the versions in the routes."""
        return {t.folder for model in self.home.board.current().models.values() for t in model.targets}

    def _run(self, module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder, capture_output=True, text=True, check=False, env=_environ(),
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(f"{module} {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def _lists(self) -> set[str]:
        try:
            return set(httpx.get(f"{self.url}/v1/models", timeout=5.0).json()["models"])
        except httpx.HTTPError:
            return set()


def _environ() -> dict[str, str]:
    """The children run elsewhere, and find this package all the same."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _free_port() -> int:
    """Below those that the system gives to connections going out, of which a busy machine has many."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("100 ports were tried and all are in use")
