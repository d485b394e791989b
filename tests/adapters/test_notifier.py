"""Notifications to a real HTTP service of our own, to one that is away, and to the log."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from afterfit.adapters.apprise_notifier import AppriseNotifier
from afterfit.errors import ConfigError, SetupError
from afterfit.ports import Notifier

GIVEN: dict[str, Any] = {
    "title": "Incident opened",
    "body": "temp: °F\nto °C",
    "severity": "critical",
    "model": "flight",
}


class Service(HTTPServer):
    """Takes JSON notifications; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[dict[str, Any]] = []
        self.status = 200


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def away() -> Iterator[int]:
    """A port on which nobody answers, and nobody can start to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def lines(home: Path) -> list[str]:
    return (home / "logs" / "notifications.log").read_text(encoding="utf-8").splitlines()


def test_it_fills_the_port(tmp_path: Path) -> None:
    port: Notifier = AppriseNotifier(tmp_path)  # mypy compares the signatures
    port.notify("a", "b", severity="info", model="m")
    assert len(lines(tmp_path)) == 1


def test_one_readable_line_for_each(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    notifier = AppriseNotifier(tmp_path, [])
    assert notifier.send(**GIVEN) == []
    assert notifier.send("Promoted", "", severity="info", model="fraud") == []
    first, second = lines(tmp_path)
    moment, rest = first.split(" ", 1)
    assert before <= datetime.fromisoformat(moment) <= datetime.now(UTC)
    assert rest == "CRITICAL flight: Incident opened | temp: °F to °C"
    assert second.endswith("INFO fraud: Promoted")


@pytest.mark.parametrize(
    ("severity", "kind"), [("info", "info"), ("warning", "warning"), ("critical", "failure"), ("odd", "info")]
)
def test_services_get_it(tmp_path: Path, service: Service, severity: str, kind: str) -> None:
    notifier = AppriseNotifier(tmp_path, [f"json://127.0.0.1:{service.server_port}"])
    assert notifier.send(**{**GIVEN, "severity": severity}) == []
    (received,) = service.received
    assert received["title"] == "[flight] Incident opened"
    assert received["message"] == GIVEN["body"]
    assert received["type"] == kind
    assert "not delivered" not in lines(tmp_path)[0]


def test_a_service_that_fails_is_named_and_the_others_still_get_it(tmp_path: Path, service: Service, away: int) -> None:
    urls = [f"xml://me:geheim@127.0.0.1:{away}", f"json://127.0.0.1:{service.server_port}"]
    problems = AppriseNotifier(tmp_path, urls).send(**GIVEN)
    assert len(problems) == 1
    assert problems[0].startswith("xml: ")
    assert "onnection" in problems[0]
    assert len(service.received) == 1
    (line,) = lines(tmp_path)
    assert line.endswith(f"[not delivered: {problems[0]}]")
    assert "Incident opened" in line
    assert "geheim" not in line


def test_a_service_that_refuses_is_named(tmp_path: Path, service: Service) -> None:
    service.status = 500
    problems = AppriseNotifier(tmp_path, [f"json://127.0.0.1:{service.server_port}"]).send(**GIVEN)
    assert len(problems) == 1
    assert "500" in problems[0]


def test_a_plug_in_that_breaks_does_not_stop_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def broken(*_: object, **__: object) -> bool:
        raise RuntimeError("a mistake in a plug-in")

    monkeypatch.setattr(apprise.Apprise, "notify", broken)
    notifier = AppriseNotifier(tmp_path, ["json://127.0.0.1:1"])
    assert notifier.send(**GIVEN) == ["json: RuntimeError: a mistake in a plug-in"]
    notifier.notify(**GIVEN)
    assert all(line.endswith("[not delivered: json: RuntimeError: a mistake in a plug-in]") for line in lines(tmp_path))
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("url", ["slak://geheim", "geheim", ""])
def test_a_url_that_means_nothing_is_a_mistake_in_the_configuration(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\[1\] .*wanted for example") as caught:
        AppriseNotifier(tmp_path / "home", ["json://127.0.0.1", url])
    assert "geheim" not in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_log_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("mine")
    with pytest.raises(SetupError, match=r"notifications.log can't be written"):
        AppriseNotifier(tmp_path)


def test_a_log_that_cannot_be_written_later_is_told(
    tmp_path: Path, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = AppriseNotifier(tmp_path, [f"json://127.0.0.1:{service.server_port}"])
    (tmp_path / "logs" / "notifications.log").mkdir()
    with caplog.at_level(logging.ERROR):
        problems = notifier.send(**GIVEN)
    assert len(problems) == 1
    assert "notifications.log can't be written" in problems[0]
    assert len(service.received) == 1
    assert "Incident opened" in caplog.text
