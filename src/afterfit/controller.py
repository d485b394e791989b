"""The controller process: ticks the loop on the machine's clock until it is told to stop. It serves nobody."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pyarrow as pa

from afterfit.adapters.environments import Maker
from afterfit.config import load
from afterfit.errors import AfterfitError
from afterfit.gateway.memory import few_arenas
from afterfit.home import Home
from afterfit.loop import Loop
from afterfit.loop.figures import figures
from afterfit.records import Entry

log = logging.getLogger("afterfit.controller")


class SystemClock:
    """The machine's time, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def run(config_path: Path) -> int:
    """Tick until SIGTERM or SIGINT; a failed tick is logged and tried again, since serving does not wait for it."""
    config = load(config_path, os.environ)
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    # Arrow's own pool keeps up to 40 MB that no thread uses any more; to release the C library's trims all of it.
    pa.set_memory_pool(pa.system_memory_pool())
    few_arenas()
    home, clock = Home.open(config), SystemClock()
    loop = Loop(home)
    say("controller is watching " + (", ".join(loop.models()) or "no model yet"))
    try:
        loop.actor.publish(clock.now())  # the settings may be others than when the last event was published
    except AfterfitError:
        log.exception("the routes could not be published; the next event tries again")
    environments = Maker(config.home.resolve() / "logs" / "environments.log")
    while not stop.is_set():
        try:
            began = time.monotonic()
            for folder in environments.look(routed(home)):
                say(f"controller is making the environment of {folder}")
            for entry in loop.tick(clock.now()):
                if entry.kind != "done":
                    say(line(entry))
            home.board.tell(figures(loop, clock.now(), time.monotonic() - began))
            home.lake.release()
        except AfterfitError:
            log.exception("this tick failed; the next one in %.0f s tries again", config.tick)
        stop.wait(config.tick)
    environments.close()
    home.close()
    return 0


def routed(home: Home) -> list[Path]:
    """Folders of the versions in the routes."""
    routes = home.board.current()
    models = () if routes is None else routes.models.values()
    return [Path(target.folder) for model in models for target in model.targets]


def line(entry: Entry) -> str:
    """One ledger entry as a person reads it."""
    why = (
        entry.data.get("why")
        or "; ".join(entry.data.get("verdict", {}).get("reasons", ()))
        or entry.data.get("title", "")
    )
    version = f" version {entry.data['version']}" if "version" in entry.data else ""
    return f"{entry.at:%Y-%m-%d %H:%M} {entry.model}: {entry.name.replace('_', ' ')}{version}" + (
        f": {why}" if why else ""
    )


def say(text: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(run(Path(sys.argv[1])))
    except AfterfitError as error:
        sys.stderr.write(f"controller: {error}\n")
        sys.exit(3)
