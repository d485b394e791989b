"""Limits: per token and of the whole gateway, slow and malformed clients, and what errors and logs repeat of a request."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from afterfit.adapters.routes_board import NO_ROUTES, FileRoutesBoard
from afterfit.adapters.token_store import TokenStore
from afterfit.gateway.app import App
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.limits import Bucket, Limits
from afterfit.gateway.service import Service
from afterfit.gateway.whole_replies import HttpProtocol, hang_up_on_the_slow
from afterfit.records import Routes
from tests.gateway.kit import NOW, SLOW, A, B, MemoryJournal, Scripted, routes, save, target
from tests.gateway.test_server import processes, start
from tests.gateway.test_tokens import bearer, guarded
from tests.world import wait_for

__all__ = ["processes"]  # a fixture of test_server
PREDICT = "/v1/models/m/predict"
NAME = "Ann-Smith-1971"


def limited(
    folder: Path, limits: Limits, act: Callable[[httpx.AsyncClient], Awaitable[None]], model: Scripted | None = None
) -> None:
    """A gateway without a socket, with limits and the tokens of a home."""
    guarded(folder, act, save(folder, model or Scripted(), features=(A, B)), limits)


def rows(n: int, a: float = 0.5) -> dict[str, Any]:
    return {"rows": [{"a": a, "b": 1.0}] * n}


def test_a_bucket_gives_what_its_rate_gives_and_a_burst_of_one_second() -> None:
    for rate in (0.1, 1.0, 3.5, 200.0):
        bucket, step = Bucket(rate, now=0.0), 1 / (10 * rate)
        taken = sum(bucket.take(i * step) == 0.0 for i in range(1000))
        assert abs(taken - (max(1.0, rate) + 100.0)) <= 1.0
        wait = bucket.take(1000 * step)
        while wait == 0.0:
            wait = bucket.take(1000 * step)
        assert bucket.take(1000 * step + wait + 1e-9) == 0.0  # as long as it says, and no longer


def test_a_token_over_its_rate_waits_and_others_do_not(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    slow = bearer(store.add("slow", ["predict"], now=NOW, rate=0.01))
    free = bearer(store.add("free", ["predict"], now=NOW))

    async def act(client: httpx.AsyncClient) -> None:
        assert (await client.post(PREDICT, json=rows(1), headers=slow)).status_code == 200
        for path, body in ((PREDICT, rows(1)), ("/v2/models/m/infer", {}), ("/invocations", {})):
            reply = await client.post(path, json=body, headers=slow)
            assert reply.status_code == 429
            assert 90 <= int(reply.headers["retry-after"]) <= 100
            assert "0.01 times a second" in reply.text
        for _ in range(20):
            assert (await client.post(PREDICT, json=rows(1), headers=free)).status_code == 200

    limited(tmp_path, Limits(), act)


def test_requests_under_way_are_counted_by_token_and_in_all(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    two = bearer(store.add("two", ["predict"], now=NOW, concurrency=2))
    many = bearer(store.add("many", ["predict"], now=NOW))

    async def act(client: httpx.AsyncClient) -> None:
        async def burst(headers: dict[str, str], n: int) -> Counter[int]:
            asked = (client.post(PREDICT, json=rows(1, SLOW), headers=headers) for _ in range(n))
            replies = await asyncio.gather(*asked)
            refused = [r for r in replies if r.status_code != 200]
            assert all(r.headers["retry-after"] == "1" for r in refused)
            return Counter(r.status_code for r in replies)

        assert await burst(two, 6) == {200: 2, 429: 4}
        assert await burst(many, 10) == {200: 5, 503: 5}
        under_way = asyncio.create_task(burst(many, 10))
        await asyncio.sleep(0.1)
        assert (await client.get("/healthz")).status_code == 200  # a probe is not turned away
        await under_way
        assert await burst(two, 2) == {200: 2}  # all were counted out, the refused ones too

    limited(tmp_path, Limits(concurrency=5), act)


def test_who_goes_away_or_is_wrong_is_counted_out(tmp_path: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        for _ in range(5):
            assert (await client.post(PREDICT, content=b"{")).status_code == 400
            assert (await client.post("/v1/models/other/predict", json=rows(1))).status_code == 404
            asked = asyncio.create_task(client.post(PREDICT, json=rows(1, SLOW)))
            await asyncio.sleep(0.05)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        assert (await client.post(PREDICT, json=rows(1))).status_code == 200

    limited(tmp_path, Limits(concurrency=1), act)


def test_the_sizes_are_those_of_the_settings(tmp_path: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        assert (await client.post(PREDICT, json=rows(3))).status_code == 200
        for path, body in (
            (PREDICT, rows(4)),
            ("/invocations", {"dataframe_records": rows(4)["rows"]}),
            ("/v1/models/m/outcomes", {"outcomes": [{"prediction_id": "x", "value": 1}] * 4}),
        ):
            reply = await client.post(path, json=body)
            assert reply.status_code == 400
            assert "at most 3" in reply.text
        large = await client.post(PREDICT, content=b" " * (2**20 + 1))
        assert large.status_code == 413
        assert "1 MiB" in large.text
        described = (await client.get("/openapi.json")).json()
        asked = described["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert asked["properties"]["rows"]["maxItems"] == 3

    limited(tmp_path, Limits(body=2**20, rows=3), act)


SENT: list[tuple[str, Any]] = [
    (PREDICT, {"rows": [{"a": NAME, "b": 1}]}),
    (PREDICT, {"rows": [{"a": [NAME], "b": {NAME: NAME}}]}),
    (PREDICT, {"rows": [NAME]}),
    (PREDICT, {"rows": NAME}),
    (PREDICT, {**rows(1), "key": ["x", NAME]}),
    (PREDICT, {**rows(1), "key": {"who": NAME}}),
    (PREDICT, {**rows(1), "key": NAME * 50}),
    (PREDICT, {**rows(1), "time": NAME}),
    (PREDICT, NAME),
    ("/v1/models/m/outcomes", {"outcomes": [NAME]}),
    ("/v1/models/m/outcomes", {"outcomes": NAME}),
    ("/v1/models/m/outcomes", {"outcomes": [{"prediction_id": "p", "value": NAME}]}),
    ("/v1/models/m/outcomes", {"outcomes": [{"prediction_id": "p", "value": 1, "kind": NAME}]}),
    ("/v1/models/m/outcomes", {"outcomes": [{"prediction_id": "p", "value": 1, "event_time": NAME}]}),
    ("/v1/models/m/outcomes", {"outcomes": [{"prediction_id": [NAME], "value": 1, "source": NAME}]}),
    ("/invocations", {"dataframe_records": [{"a": NAME, "b": 1}]}),
    ("/invocations", {"dataframe_split": {"columns": ["a", "b"], "data": [[NAME, 1]]}}),
    ("/invocations", {"inputs": [[NAME, NAME, NAME]]}),
    ("/invocations", {"instances": NAME}),
    ("/v2/models/m/infer", {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [NAME]}]}),
    ("/v2/models/m/infer", {"inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": [NAME]}]}),
    ("/v2/models/m/infer", {"inputs": [{"name": "a", "shape": NAME, "datatype": "FP64", "data": [NAME]}]}),
    ("/v2/models/m/infer", {"inputs": NAME}),
]


class Talkative(Scripted):
    """Quotes the row when it fails, as many models do."""

    def predict_proba(self, X: Any) -> Any:
        raise ValueError(f"could not read {X['a'].iloc[0]} of {NAME}")


def test_no_error_repeats_a_value_neither_to_the_sender_nor_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        for path, body in SENT:
            for content in (json.dumps(body).encode(), json.dumps(body).encode()[:-1]):
                reply = await client.post(path, content=content)
                if reply.status_code == 200:
                    assert {r["status"] for r in reply.json()["results"]} == {"rejected"}
                else:
                    assert reply.status_code == 400, body
                assert NAME not in reply.text, body

    with caplog.at_level(logging.DEBUG):
        limited(tmp_path, Limits(), act)
    assert NAME not in caplog.text


def test_a_model_that_quotes_the_row_is_cut_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        reply = await client.post(PREDICT, json=rows(1, 0.125))
        assert reply.status_code == 503
        assert "version 1 of m could not answer: version 1 raised ValueError (the row may be to blame: " in reply.text
        assert "`failure` of the logged prediction says more); try again" in reply.text
        assert NAME not in reply.text
        assert "0.125" not in reply.text

    with caplog.at_level(logging.DEBUG):
        limited(tmp_path, Limits(), act, Talkative())
    assert NAME not in caplog.text


def test_a_defect_is_logged_once_by_place_and_kind_and_never_by_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        try:
            raise KeyError(NAME)
        except KeyError as error:
            raise TypeError(f"no {NAME}") from error

    monkeypatch.setattr(Service, "predict", broken)

    async def act(client: httpx.AsyncClient) -> None:
        for _ in range(50):
            reply = await client.post(PREDICT, json=rows(1))
            assert reply.status_code == 503
            assert "defect" in reply.text
            assert NAME not in reply.text

    with caplog.at_level(logging.DEBUG):
        limited(tmp_path, Limits(), act)
    (told,) = [record.getMessage() for record in caplog.records if "a defect of the gateway" in record.getMessage()]
    assert NAME not in told.replace("raise KeyError(NAME)", "")
    assert "in broken" in told
    assert "TypeError" in told
    assert "KeyError" in told


def test_ready_once_published_routes_were_taken_over_though_they_name_no_model(tmp_path: Path) -> None:
    async def run() -> None:
        fleet = Fleet(tmp_path / "logs")
        service = Service(fleet, MemoryJournal(), clock=lambda: NOW, request_clock=False)
        transport = httpx.ASGITransport(App(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:

            async def statuses() -> set[int]:
                return {(await client.get(p)).status_code for p in ("/readyz", "/v2/health/ready", "/ping", "/health")}

            assert await statuses() == {503}
            await fleet.apply(NO_ROUTES)  # what stands for a board on which nothing hangs yet
            assert await statuses() == {503}
            assert (await client.get("/healthz")).status_code == 200
            FileRoutesBoard(tmp_path).publish(Routes(0, NOW))  # what the controller puts up when it starts
            await fleet.apply(FileRoutesBoard(tmp_path).current())
            assert await statuses() == {200}
        await fleet.stop()

    asyncio.run(run())


class Hasty(HttpProtocol):
    """As patient as a test."""

    idle, sending = 4, 0.3


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n"
SLOW_ONES = {
    "in its head": (HEAD, b"408"),
    "in its body": (HEAD + b"\r\na", b"408"),
    "in its second head": (HEAD + b"\r\nabc" + HEAD, b"ok"),
    "in its second body": (HEAD + b"\r\nabc" + HEAD + b"\r\na", b"408"),
    "empty lines for ever": (b"\r\n", b""),
    "nothing": (b"", b""),
}


def test_who_sends_a_request_drop_by_drop_is_hung_up_on_and_others_are_not() -> None:
    async def one(address: tuple[str, int], sent: bytes, last: bytes) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        got = b""
        async with asyncio.timeout(40):
            while part := await reader.read(1000):
                got += part
        assert last in got, (sent, got)
        assert got.count(b"HTTP/1.1 ") == (sent.count(b"\r\nabc") + (last == b"408")), (sent, got)
        writer.close()

    async def steady(address: tuple[str, int]) -> None:
        """A client that is slow between its requests, as it may be."""
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(3):
            writer.write(HEAD + b"\r\nabc")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(1.2)  # four times as long as a request may take, and less than a connection may idle
        writer.close()

    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(_echo, http=Hasty, ws="none", loop="none", lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))  # without its handling of signals
        looking = asyncio.create_task(hang_up_on_the_slow(server.server_state.connections))
        address = listener.getsockname()
        await asyncio.gather(steady(address), *(one(address, *how) for how in SLOW_ONES.values()))
        looking.cancel()
        server.should_exit = True
        await asyncio.gather(serving, looking, return_exceptions=True)
        assert not server.server_state.connections

    asyncio.run(run())


def test_malformed_requests_and_upgrades_leave_no_line_in_the_log(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    FileRoutesBoard(tmp_path).publish(Routes(1, NOW))
    process = start(tmp_path, "--port", "0")
    processes.append(process)
    assert process.stdout is not None
    url = process.stdout.readline().decode().rsplit(" at ", 1)[1].strip()
    host, port = url.removeprefix("http://").split(":")
    upgrade = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: %s\r\n\r\n"
    junk = [
        b"no HTTP at all\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: minus\r\n\r\n",
        b"POST /v1/models/m/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /%0a%0dlines HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        upgrade % b"websocket",
        upgrade % b"h2c",
    ]
    for sent in junk * 20:
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert httpx.get(f"{url}/healthz").status_code == 200
    wait_for(lambda: bool(FileRoutesBoard(tmp_path).acknowledgements()), 60.0, "no gateway")
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(err.splitlines()) <= 2, err.decode()


def test_too_many_connections_are_told_so_and_the_gateway_keeps_files_for_itself(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    board = FileRoutesBoard(tmp_path)
    board.publish(routes(1, target(save(tmp_path, Scripted(), number=1))))
    command = [sys.executable, "-m", "afterfit.gateway.server", "--home", str(tmp_path), "--port", "0"]
    few = ["sh", "-c", 'ulimit -n 600; exec "$@"', "sh", *command]
    process = subprocess.Popen(few, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.append(process)
    assert process.stdout is not None
    url = process.stdout.readline().decode().rsplit(" at ", 1)[1].strip()
    host, port = url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=60.0))
        assert client.post(f"{url}{PREDICT}", json={"rows": [{"a": 0.5}]}).status_code == 200
        many = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(700)]
        told = [connection.recv(4096) for connection in many[-300:]]
        assert all(answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in answer for answer in told)
        board.publish(routes(2, target(save(tmp_path, Scripted(), number=2))))  # a process, pipes and a log of its own
        wait_for(lambda: board.acknowledgements()[0].number == 2, 60.0, "new routes were not taken over")
        answer = client.post(f"{url}{PREDICT}", json={"rows": [{"a": 0.5}]})
        assert answer.json()["predictions"][0]["version"] == 2
    wait_for(lambda: httpx.get(f"{url}/healthz", timeout=60.0).is_success, 60.0, "connections were not given back")
