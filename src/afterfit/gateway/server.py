"""The gateway process: routes from the board, workers, journal, HTTP. It opens no registry and does no statistics."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from afterfit.adapters.journal import SqliteJournal
from afterfit.adapters.journal_aside import open_journal
from afterfit.adapters.routes_board import FileRoutesBoard, GatewayDesk
from afterfit.adapters.tls import Certificate
from afterfit.adapters.token_store import refuse_open
from afterfit.config import DURABILITIES, Config, is_loopback
from afterfit.errors import AfterfitError, SetupError
from afterfit.gateway.app import App
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.follower import Follower
from afterfit.gateway.limits import Limits
from afterfit.gateway.metrics import of_controller, of_journal
from afterfit.gateway.redacting import Redactions
from afterfit.gateway.service import Service
from afterfit.gateway.tokens import Tokens
from afterfit.gateway.whole_replies import KEEP_ALIVE, HttpProtocol, hang_up_on_the_slow, most_connections
from afterfit.records import Acknowledgement

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger("afterfit.gateway")
GRACEFUL = 30  # seconds that requests under way have when the process is asked to stop
TRACED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")  # variables that turn traces on
NOT_READY = 3  # exit code: this machine can't run it; restarting would not help


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process before the journal is flushed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def ask_to_exit(self, starting: asyncio.Task[None]) -> None:
        """Stop accepting, finish what is under way, return from serve()."""
        starting.cancel()
        self.should_exit = True


class Gateway:
    """One gateway process from start to stop."""

    def __init__(
        self,
        home: Path,
        gateway: str,
        listener: socket.socket,
        *,
        request_clock: bool,
        durability: str = Config.durability,
        tls: Certificate | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        host, port = listener.getsockname()[:2]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        self._tls, self._limits = tls, limits
        self._tokens = Tokens(home, always=not is_loopback(host))
        self._name = gateway
        self._listener = listener
        self._board, self._desk = FileRoutesBoard(home), GatewayDesk(home, gateway)
        self._redactions = Redactions(home)
        path = home / "journal" / f"{gateway}.db"
        make = partial(SqliteJournal, durability=durability, redact=self._redactions.of)
        self._journal, self._damage = open_journal(path, make, _now())
        if self._damage:
            log.error("%s", self._damage)
        self._log_folder = home / "logs"
        self._request_clock = request_clock
        self._tracers: TracerProvider | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        fleet = Fleet(self._log_folder)
        self._redactions.lanes = fleet.lanes
        service, app = self._heart(fleet)
        service.more_metrics = lambda: [*of_journal(self._journal, service.served), *of_controller(self._board)]
        follower = Follower(self._board, self._desk, fleet, lambda trouble: self._acknowledgement(service, trouble))
        server = _Server(_config(app, self._tls))
        starting = asyncio.create_task(follower.start())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.ask_to_exit, starting)
        with contextlib.suppress(asyncio.CancelledError):  # by a signal
            await starting
        aside = [
            asyncio.create_task(w)
            for w in (follower.run(), self._tokens.follow(), hang_up_on_the_slow(server.server_state.connections))
        ]
        if self._tls is not None:
            aside.append(asyncio.create_task(self._tls.follow()))
        _collect_seldom()
        if not server.should_exit:
            sys.stdout.write(f"gateway {self._name} serves {', '.join(fleet.lanes) or 'no model yet'} at {self.url}\n")
            sys.stdout.flush()
        try:
            await server.serve(sockets=[self._listener])
        finally:
            for task in aside:
                task.cancel()
            await asyncio.gather(*aside, return_exceptions=True)
            await service.shadows.finish()
            await fleet.stop()
            await asyncio.to_thread(self._journal.close)
            if self._tracers is not None:
                from afterfit.gateway.tracing import finish

                await asyncio.to_thread(finish, self._tracers)

    def _heart(self, fleet: Fleet) -> tuple[Service, App]:
        """The service and its edge, traced where the environment asks for it."""
        if any(os.environ.get(name) for name in TRACED):
            from afterfit.gateway.tracing import TracedApp, TracedService, provider_of

            self._tracers = provider_of(os.environ)
        about: dict[str, Any] = {"clock": _now, "request_clock": self._request_clock, "limits": self._limits}
        if self._tracers is None:
            service = Service(fleet, self._journal, **about)
            return service, App(service, self._tokens)
        tracer = self._tracers.get_tracer("afterfit")
        service = TracedService(fleet, self._journal, tracer=tracer, **about)
        return service, TracedApp(service, self._tokens, tracer)

    def _acknowledgement(self, service: Service, trouble: str) -> Acknowledgement:
        problems, dropped = service.fleet.problems(), service.shadows.dropped
        lost = {"journal lost": self._journal.lost_shadows} if self._journal.lost_shadows else {}
        troubles = {"routes": trouble, "journal": self._damage, "log": service.log_problem}
        troubles |= {"tokens": self._tokens.problem, "tls": "" if self._tls is None else self._tls.problem}
        unlogged = {f"{model} not logged": n for model, n in self._journal.losses.by_model.items()}
        return Acknowledgement(
            gateway=self._name,
            number=service.fleet.number,
            at=_now(),
            pid=os.getpid(),
            url=self.url,
            problems=problems | {what: told for what, told in troubles.items() if told},
            served=dict(service.served),
            dropped=dropped | lost | unlogged,
            restarts=service.fleet.restarts(),
            degraded=dict(service.degraded),
            memory=service.fleet.memory(),
        )


def _config(app: App, tls: Certificate | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        loop="none",
        log_level="error",  # a warning is a line for each request that is no HTTP: whoever sends them would fill the log
        access_log=False,
        proxy_headers=False,  # nothing here asks where a caller is
        server_header=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACEFUL,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
    )


def _collect_seldom() -> None:
    """Garbage is freed by counting references, all but cycles. Looking for those walks over everything that was loaded,
    pandas too, and every request waits; so what is there now is left out, and the rest is looked at more seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: who connects while the versions are loaded waits, and is not turned away.

    Raises:
        SetupError: the port is in use; says what to do.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
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
    parser.add_argument("--durability", choices=DURABILITIES, default=Config.durability)
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--max-body", type=int, default=Config.max_body)
    parser.add_argument("--max-rows", type=int, default=Config.max_rows)
    parser.add_argument("--max-concurrency", type=int, default=Config.max_concurrency)
    parser.add_argument("--clock", choices=("machine", "request"), default="machine")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        gateway = _open(options)
    except (AfterfitError, OSError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return NOT_READY
    HttpProtocol.most = most_connections()
    with asyncio.Runner(loop_factory=_event_loop()) as runner:
        runner.run(gateway.run())
    return 0


def _open(options: argparse.Namespace) -> Gateway:
    """A gateway that listens; nothing is bound or written before what it was told was checked."""
    tls = Certificate(options.tls_certificate, options.tls_key) if options.tls_certificate else None
    refuse_open(options.host, options.home)
    options.home.mkdir(parents=True, exist_ok=True)
    return Gateway(
        options.home,
        options.id,
        listen(options.host, options.port),
        request_clock=options.clock == "request",
        durability=options.durability,
        tls=tls,
        limits=Limits(options.max_body * 2**20, options.max_rows, options.max_concurrency),
    )


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
