"""`afterfit up`: starts gateway, controller and MLflow's pages, restarts what dies, and stops them together."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import IO

from afterfit.adapters.tls import server_context
from afterfit.adapters.token_store import refuse_open
from afterfit.config import Config, is_loopback
from afterfit.errors import SetupError
from afterfit.home import Home

FATAL = 3  # exit code of a part that says it can't work here; restarting would not help
LONGEST_WAIT = 30.0  # seconds between two restarts of a part that keeps dying
UI_HOST = "127.0.0.1"  # MLflow's pages ask nobody who they are, so they are for this machine whatever `host` is
STEADY = 60.0  # seconds of life after which a part's past deaths are forgiven
_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """One child process that must be alive."""

    name: str
    command: list[str]
    log: Path | None = None  # None: it writes to our own output
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started: float = 0.0
    restart_at: float = 0.0

    def start(self) -> None:
        """Start it in a session of its own, bound to die with us."""
        out: int | IO[bytes] | None = None
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            out = self.log.open("ab")
        self.process = subprocess.Popen(
            self.command,
            stdout=out,
            stderr=subprocess.STDOUT if out else None,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  no other thread runs
        )
        if self.log is not None and not isinstance(out, int) and out is not None:
            out.close()
        self.started = time.monotonic()

    def stop(self, patience: float = 15.0) -> None:
        """Ask, wait, and only then insist."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def up(config: Config, config_path: Path, *, say: Callable[[str], None]) -> int:
    """Run everything until Ctrl-C or SIGTERM. Returns the exit code: 0 after a clean stop, 3 when it can't start.

    Raises:
        SetupError: a port is in use, another `up` holds this home, the home can't be written, other machines could ask
            without a token, or certificate and key don't fit. Nothing was started.
    """
    Home.open(config).close()  # a damaged store or an unwritable folder is found before anything runs
    refuse_open(config.host, config.home)
    if config.tls_certificate is not None and config.tls_key is not None:
        server_context(config.tls_certificate, config.tls_key)
    lock = _lock(config.home)
    _refuse_taken(config.host, config.port, "port", "the gateway")
    parts = [
        Part("gateway", gateway_command(config), config.home / "logs" / "gateway.log"),
        Part("controller", [sys.executable, "-m", "afterfit.controller", str(config_path)]),
    ]
    if mlflow_pages_installed() and config.tracking_uri is None:
        _refuse_taken(UI_HOST, config.ui_port, "ui_port", "MLflow's pages")
        parts.append(Part("mlflow", _mlflow_command(config), config.home / "logs" / "mlflow.log"))
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    try:
        for part in parts:
            part.start()
        say(
            f"gateway     {'https' if config.tls_key else 'http'}://{config.host}:{config.port}   (log: {parts[0].log})"
        )
        if not is_loopback(config.host) and config.tls_key is None:
            say("            without TLS what is sent, tokens too, can be read on its way: docs/security.md")
        if len(parts) > 2:
            say(f"MLflow      http://{UI_HOST}:{config.ui_port}")
        say(f"home        {config.home}   (Ctrl-C stops everything)")
        return _watch(parts, stop, say)
    finally:
        for part in reversed(parts):
            part.stop()
        say("stopped")
        lock.close()


def gateway_command(config: Config) -> list[str]:
    """How the gateway process is started."""
    certificate, key = config.tls_certificate, config.tls_key
    tls = [] if certificate is None else ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    return [
        sys.executable,
        "-m",
        "afterfit.gateway.server",
        "--home",
        str(config.home),
        "--host",
        config.host,
        "--port",
        str(config.port),
        "--durability",
        config.durability,
        "--max-body",
        str(config.max_body),
        "--max-rows",
        str(config.max_rows),
        "--max-concurrency",
        str(config.max_concurrency),
        *tls,
    ]


def mlflow_pages_installed() -> bool:
    """Whether the extra [ui] is there; mlflow-skinny has no pages."""
    try:
        metadata.version("mlflow")
    except metadata.PackageNotFoundError:
        return False
    return True


def _watch(parts: list[Part], stop: threading.Event, say: Callable[[str], None]) -> int:
    while not stop.wait(0.2):
        now = time.monotonic()
        for part in parts:
            code = part.process.poll() if part.process else None
            if code is None:
                if part.deaths and now - part.started > STEADY:
                    part.deaths = 0
                continue
            if code == FATAL:
                say(f"{part.name} can't work here" + (f"; its log {part.log} says why" if part.log else ""))
                return FATAL
            if part.restart_at == 0.0:
                wait = min(LONGEST_WAIT, 0.5 * 2**part.deaths)
                part.deaths, part.restart_at = part.deaths + 1, now + wait
                say(f"{part.name} ended with code {code}; starting it again in {wait:.1f} s")
            elif now >= part.restart_at:
                part.restart_at = 0.0
                part.start()
    return 0


def _lock(home: Path) -> IO[str]:
    """One `up` a home; the lock goes with the process, however it ends."""
    handle = (home / "up.lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        raise SetupError(
            f"another `afterfit up` (process {holder}) runs on {home}; stop it first, or use another home"
        ) from error
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def _refuse_taken(host: str, port: int, key: str, what: str) -> None:
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SetupError(
                f"port {port} on {host} is in use, so {what} can't start: stop what uses it, or set {key} in "
                f"afterfit.toml (or AFTERFIT_{key.upper()}) to another port"
            ) from error


def _mlflow_command(config: Config) -> list[str]:
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{config.home / 'mlflow.db'}",
        "--default-artifact-root",
        str(config.home / "mlartifacts"),
        "--host",
        UI_HOST,
        "--port",
        str(config.ui_port),
        "--workers",
        "1",
    ]


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
