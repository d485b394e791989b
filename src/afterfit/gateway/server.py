"""The gateway process: routes from the board, workers, journal, HTTP. It opens no registry and does no statistics."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.routes_board import FileRoutesBoard, GatewayDesk
from afterfit.errors import AfterfitError, SetupError, StoreError
from afterfit.gateway.app import App
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.service import Service
from afterfit.records import Acknowledgement, Routes

log = logging.getLogger("afterfit.gateway")
LOOK_EVERY = 0.05  # seconds between two looks for new routes (a stat of one file)
REPORT_EVERY = 2.0  # seconds between two reports without news
KEEP_ALIVE = 75  # seconds an idle connection stays open
NOT_READY = 3  # exit code: this machine can't run it; restarting would not help


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process before the journal is flushed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def ask_to_exit(self) -> None:
        """Stop accepting, finish what is under way, return from serve()."""
        self.should_exit = True


class Gateway:
    """One gateway process from start to stop."""

    def __init__(self, home: Path, gateway: str, *, request_clock: bool) -> None:
        self._board, self._desk = FileRoutesBoard(home), GatewayDesk(home, gateway)
        self._home, self._name = home, gateway
        self._journal = SqliteJournal(home / "journal" / f"{gateway}.db")
        self._fleet = Fleet(home / "logs")
        self._service = Service(self._fleet, self._journal, clock=_now, request_clock=request_clock)
        self._trouble = ""

    async def run(self, listener: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT."""
        host, port = listener.getsockname()[:2]
        url = f"http://{host}:{port}"
        config = uvicorn.Config(
            App(self._service),
            http="httptools",
            loop="none",
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE,
        )
        server = _Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.ask_to_exit)
        await self._take_over(self._first_routes())
        self._report(url)
        watcher = asyncio.create_task(self._watch(url))
        sys.stdout.write(f"gateway {self._name} serves {', '.join(self._fleet.lanes) or 'no model yet'} at {url}\n")
        sys.stdout.flush()
        try:
            await server.serve(sockets=[listener])
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await self._service.shadows.finish()
            await self._fleet.stop()
            await asyncio.get_running_loop().run_in_executor(None, self._journal.close)

    def _first_routes(self) -> Routes:
        """The published routes, or the last good ones when those can't be read."""
        try:
            self._desk.changed()
            return self._board.current()
        except StoreError as error:
            self._trouble = str(error)
            good = self._desk.last_good()
            log.error("%s; going on with %s", error, f"the last good routes {good.number}" if good else "no routes")
            return good or Routes(0, _now())

    async def _watch(self, url: str) -> None:
        reported = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._desk.changed():
                try:
                    await self._take_over(self._board.current())
                    self._trouble = ""
                except AfterfitError as error:
                    self._trouble = str(error)
                    log.error("%s; going on with routes %d", error, self._fleet.number)
                reported = 0.0
            if clock() - reported >= REPORT_EVERY:
                self._report(url)
                reported = clock()

    async def _take_over(self, routes: Routes) -> None:
        if await self._fleet.apply(routes):
            self._desk.keep(routes)
        else:
            log.error("routes %d are not in force: %s", routes.number, self._fleet.refused)

    def _report(self, url: str) -> None:
        problems = self._fleet.problems()
        if self._trouble:
            problems["routes"] = self._trouble
        self._desk.acknowledge(
            Acknowledgement(
                gateway=self._name,
                number=self._fleet.number,
                at=_now(),
                pid=os.getpid(),
                url=url,
                problems=problems,
                served=dict(self._service.served),
                dropped=dict(self._service.shadows.dropped),
                restarts=self._fleet.restarts(),
            )
        )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        SetupError: the port is in use; says what to do.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SetupError(
            f"port {port} on {host} can't be used ({error.strerror}): stop what uses it, or set port in afterfit.toml "
            "(or AFTERFIT_PORT) to another one"
        ) from error
    return listener


def main() -> int:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="afterfit.gateway.server")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8600)
    parser.add_argument("--id", default="gateway-1")
    parser.add_argument("--clock", choices=("machine", "request"), default="machine")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        options.home.mkdir(parents=True, exist_ok=True)
        listener = listen(options.host, options.port)
        gateway = Gateway(options.home, options.id, request_clock=options.clock == "request")
    except (AfterfitError, OSError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return NOT_READY
    with asyncio.Runner(loop_factory=_event_loop()) as runner:
        runner.run(gateway.run(listener))
    return 0


def _event_loop() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.Loop


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
