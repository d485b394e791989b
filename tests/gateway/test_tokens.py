"""Tokens: kept as hashes, asked of every route by role, taken over while requests go on; and TLS, with real processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import ssl
import stat
import subprocess
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from afterfit.adapters.routes_board import FileRoutesBoard
from afterfit.adapters.tls import server_context
from afterfit.adapters.token_store import ROLES, TokenStore, refuse_open
from afterfit.errors import AfterfitError, InputError, SetupError, StoreError, UnknownNameError
from afterfit.gateway.app import App
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.limits import Limits
from afterfit.gateway.service import Service
from afterfit.gateway.tokens import NoTokenError, RoleError, Tokens
from afterfit.records import ModelVersion
from tests.gateway.kit import NOW, MemoryJournal, Scripted, routes, save, target
from tests.gateway.test_server import free_port, processes, refused, start
from tests.world import wait_for

__all__ = ["processes"]  # a fixture of test_server
ROUTES = [  # method, path, the role it wants
    ("POST", "/v1/models/m/predict", "predict"),
    ("POST", "/v1/models/m/invocations", "predict"),
    ("POST", "/invocations", "predict"),
    ("POST", "/v2/models/m/infer", "predict"),
    ("POST", "/v2/models/m/versions/1/infer", "predict"),
    ("POST", "/v1/models/m/outcomes", "outcome"),
    ("GET", "/v1/models", "view"),
    ("GET", "/v1/models/m", "view"),
    ("GET", "/v2", "view"),
    ("GET", "/v2/models/m", "view"),
    ("GET", "/v2/models/m/ready", "view"),
    ("GET", "/openapi.json", "view"),
    ("GET", "/metrics", "view"),
    ("GET", "/version", "view"),
]
PROBES = ["/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def guarded(
    folder: Path,
    act: Callable[[httpx.AsyncClient], Awaitable[None]],
    served: ModelVersion | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    """A gateway without a socket that knows the tokens of a home; `served`: its version."""

    async def run() -> None:
        fleet = Fleet(folder / "logs")
        service = Service(fleet, MemoryJournal(), clock=lambda: NOW, request_clock=False, limits=limits)
        try:
            await fleet.apply(routes(1, target(served or save(folder, Scripted()))))
            transport = httpx.ASGITransport(App(service, Tokens(folder, always=False)))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60.0) as client:
                await act(client)
        finally:
            await fleet.stop()

    asyncio.run(run())


def test_each_route_wants_its_role_and_says_which(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    secrets = {role: store.add(role, [role], now=NOW) for role in ROLES}
    implied = {"operate": {"view"}, "admin": set(ROLES)}

    async def act(client: httpx.AsyncClient) -> None:
        for method, path, role in ROUTES:
            for header in ({}, {"authorization": "Basic eDp5"}, bearer("afterfit_guess"), bearer("")):
                reply = await client.request(method, path, headers=header)
                assert reply.status_code == 401, (path, header)
                if path.endswith("/invocations"):
                    assert reply.json()["error_code"] == "UNAUTHENTICATED"
                assert reply.headers["www-authenticate"].startswith("Bearer realm=")
                assert "guess" not in reply.text
            for own, secret in secrets.items():
                reply = await client.request(method, path, headers=bearer(secret))
                if role == own or role in implied.get(own, ()):
                    assert reply.status_code in (200, 400), (path, own)
                else:
                    assert reply.status_code == 403, (path, own)
                    assert f"lacks the role '{role}'" in reply.text
                    assert f'scope="{role}"' in reply.headers["www-authenticate"]
        for path in PROBES:
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/readyz")).json() == {"status": "ready"}  # nobody who may not see learns a name

    guarded(tmp_path, act)


def test_every_path_of_the_gateway_is_one_of_those(tmp_path: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert set(paths) <= {path for _, path, _ in ROUTES} | set(PROBES)

    guarded(tmp_path, act)


def test_without_a_token_ever_made_nobody_is_asked(tmp_path: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        reply = await client.post("/v1/models/m/predict", json={"rows": [{"a": 0.5}]})
        assert reply.status_code == 200

    guarded(tmp_path, act)


def test_the_scheme_may_be_written_in_any_case(tmp_path: Path) -> None:
    secret = TokenStore(tmp_path).add("v", ["view"], now=NOW)
    tokens = Tokens(tmp_path, always=False)
    for header in (f"bearer {secret}", f"BEARER  {secret} "):
        found = tokens.caller(header.encode(), "view")
        assert found is not None
        assert found.name == "v"


def test_what_is_kept_is_no_token_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    secrets = [store.add(f"n{i}", ["predict"], now=NOW) for i in range(3)]
    assert len(set(secrets)) == 3
    assert all(len(secret) >= len("afterfit_") + 43 for secret in secrets)  # 32 bytes
    text = store.path.read_text(encoding="utf-8")
    assert not any(secret in text or secret.removeprefix("afterfit_") in text for secret in secrets)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    store.rotate("n0", now=NOW)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_rotation_ends_the_old_one_at_once_or_after_its_grace(tmp_path: Path) -> None:
    store, clock = TokenStore(tmp_path), [NOW.timestamp()]
    first = store.add("shop", ["predict"], now=NOW, rate=5.0, concurrency=2)
    second = store.rotate("shop", now=NOW, grace=3600.0)
    (token,) = store.all()
    assert (token.roles, token.rate, token.concurrency) == (("predict",), 5.0, 2)
    tokens = Tokens(tmp_path, always=False, clock=lambda: clock[0])
    for secret in (first, second):
        assert tokens.caller(f"Bearer {secret}".encode(), "predict") is not None
    clock[0] += 3601.0
    with pytest.raises(NoTokenError, match="time of grace is over"):
        tokens.caller(f"Bearer {first}".encode(), "predict")
    assert tokens.caller(f"Bearer {second}".encode(), "predict") is not None
    third = store.rotate("shop", now=NOW)
    tokens = Tokens(tmp_path, always=False, clock=lambda: clock[0])
    with pytest.raises(NoTokenError):
        tokens.caller(f"Bearer {second}".encode(), "predict")
    with pytest.raises(RoleError, match="lacks the role 'view'; it has predict"):
        tokens.caller(f"Bearer {third}".encode(), "view")


@pytest.mark.parametrize(
    ("name", "roles", "more", "error", "said"),
    [
        ("", ["view"], {}, InputError, "wanted a name"),
        ("a b", ["view"], {}, InputError, "wanted a name"),
        ("taken", ["view"], {}, InputError, "there already"),
        ("n", [], {}, InputError, "has no role"),
        ("n", ["viewer"], {}, InputError, "Did you mean 'view'"),
        ("n", ["view"], {"rate": 0.0}, InputError, "above 0"),
        ("n", ["view"], {"rate": float("nan")}, InputError, "above 0"),
        ("n", ["view"], {"concurrency": 0}, InputError, "at least 1"),
    ],
)
def test_a_token_that_is_none_is_refused_and_nothing_changes(
    tmp_path: Path, name: str, roles: list[str], more: dict[str, float], error: type[AfterfitError], said: str
) -> None:
    store = TokenStore(tmp_path)
    store.add("taken", ["predict"], now=NOW)
    before = store.path.read_bytes()
    with pytest.raises(error, match=said):
        store.add(name, roles, now=NOW, **more)  # type: ignore[arg-type]
    for unknown in (lambda: store.revoke("takn"), lambda: store.rotate("takn", now=NOW)):
        with pytest.raises(UnknownNameError, match="Did you mean 'taken'"):
            unknown()
    assert store.path.read_bytes() == before


def test_changes_are_taken_over_and_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    old = store.add("a", ["view"], now=NOW)

    async def run() -> None:
        tokens = Tokens(tmp_path, always=False)
        following = asyncio.create_task(tokens.follow())

        async def until(holds: Callable[[], bool]) -> None:
            for _ in range(600):
                if holds():
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("not taken over within 30 s")

        def known(secret: str) -> bool:
            try:
                return tokens.caller(f"Bearer {secret}".encode(), "view") is not None
            except NoTokenError:
                return False

        caller = tokens.caller(f"Bearer {old}".encode(), "view")
        new = store.rotate("a", now=NOW)
        await until(lambda: known(new) and not known(old))
        assert tokens.caller(f"Bearer {new}".encode(), "view") is caller  # with all that it has under way
        good = store.path.read_bytes()
        store.path.write_bytes(good[:-5])
        await until(lambda: "damaged" in tokens.problem)
        assert known(new)
        store.path.write_bytes(good)
        await until(lambda: not tokens.problem)
        assert store.revoke("a")[1] == 0
        await until(lambda: not known(new))
        assert tokens.demanded  # the last token is gone, which opens nothing
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(run())


def test_a_damaged_file_is_told_at_the_start(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.add("a", ["view"], now=NOW, rate=2.0)
    good = store.path.read_text(encoding="utf-8")
    (kept,) = json.loads(good)
    for bad in (
        "[{]",
        good.replace(kept["sha256"], "no hash"),
        good.replace('"view"', '"see"'),
        good.replace("2.0", "0.0"),
        good.replace("2.0", "NaN"),
    ):
        store.path.write_text(bad, encoding="utf-8")
        with pytest.raises(StoreError, match="damaged"):
            Tokens(tmp_path, always=False)
    assert "damaged" in refused(tmp_path, "--port", "0")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_an_open_host_without_a_token_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(SetupError, match="afterfit tokens add NAME --role predict"):
        refuse_open(host, tmp_path)
    store = TokenStore(tmp_path)
    store.add("shop", ["predict"], now=NOW)
    refuse_open(host, tmp_path)
    store.revoke("shop")
    with pytest.raises(SetupError):
        refuse_open(host, tmp_path)


def test_an_open_gateway_starts_only_with_tokens_and_asks_for_them(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    said = refused(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert "can be reached from other machines" in said
    assert not list(tmp_path.rglob("*.db"))
    secret = TokenStore(tmp_path).add("shop", ["predict"], now=NOW)
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Scripted()))))
    port = free_port()
    processes.append(start(tmp_path, "--host", "0.0.0.0", "--port", str(port)))
    url = f"http://127.0.0.1:{port}/v1/models/m/predict"
    wait_for(lambda: bool(FileRoutesBoard(tmp_path).acknowledgements()), 60.0, "no gateway")
    assert httpx.post(url, json={"rows": [{"a": 0.5}]}, timeout=60.0).status_code == 401
    assert httpx.post(url, json={"rows": [{"a": 0.5}]}, headers=bearer(secret), timeout=60.0).status_code == 200
    TokenStore(tmp_path).path.unlink()  # whoever removes it from an open gateway opens nothing
    wait_for(lambda: httpx.post(url, headers=bearer(secret), timeout=60.0).status_code == 401, 30.0, "not taken over")
    assert httpx.post(url, json={"rows": [{"a": 0.5}]}, timeout=60.0).status_code == 401


class Certificates:
    """Certificates for 127.0.0.1, signed by their own keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second = self._make("first"), self._make("second")

    def _make(self, name: str) -> tuple[str, str]:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", "req", "-x509", *made, *subject], check=True, capture_output=True)
        return str(certificate), str(key)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl makes the certificates, and is not here")
    return Certificates(tmp_path_factory.mktemp("tls"))


def test_it_speaks_https_and_survives_who_does_not(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]], certificates: Certificates
) -> None:
    certificate, key = certificates.first
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Scripted()))))
    process = start(tmp_path, "--port", "0", "--tls-certificate", certificate, "--tls-key", key)
    processes.append(process)
    assert process.stdout is not None
    url = process.stdout.readline().decode().rsplit(" at ", 1)[1].strip()
    assert url.startswith("https://127.0.0.1:")
    body = {"rows": [{"a": 0.5}]}
    with httpx.Client(verify=ssl.create_default_context(cafile=certificate), timeout=60.0) as client:
        for _ in range(3):
            assert client.post(f"{url}/v1/models/m/predict", json=body).status_code == 200
        for _ in range(20):
            with pytest.raises(httpx.HTTPError):
                httpx.get(url.replace("https", "http"), timeout=60.0)
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{url}/healthz")
        assert client.post(f"{url}/v1/models/m/predict", json=body).status_code == 200
    (told,) = FileRoutesBoard(tmp_path).acknowledgements()
    assert told.url == url
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(err.splitlines()) <= 2, err.decode()  # who speaks no TLS fills no log


def test_a_renewed_certificate_is_taken_over_and_half_a_renewal_changes_nothing(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]], certificates: Certificates
) -> None:
    pem, key = tmp_path / "live.pem", tmp_path / "live.key"
    for path, source in zip((pem, key), certificates.first, strict=True):
        shutil.copy(source, path)
    FileRoutesBoard(tmp_path).publish(routes(1, target(save(tmp_path, Scripted()))))
    process = start(tmp_path, "--port", "0", "--tls-certificate", str(pem), "--tls-key", str(key))
    processes.append(process)
    assert process.stdout is not None
    url = process.stdout.readline().decode().rsplit(" at ", 1)[1].strip()

    def answers(certificate: str) -> bool:
        """Whether a new connection is shown this certificate."""
        try:
            return httpx.get(f"{url}/healthz", verify=ssl.create_default_context(cafile=certificate)).is_success
        except httpx.ConnectError:
            return False

    def told() -> str:
        return FileRoutesBoard(tmp_path).acknowledgements()[0].problems.get("tls", "")

    old, new = (pair[0] for pair in (certificates.first, certificates.second))
    with httpx.Client(verify=ssl.create_default_context(cafile=old), timeout=60.0) as kept:
        assert kept.get(f"{url}/healthz").is_success
        shutil.copy(new, pem)
        wait_for(lambda: "is not the key of" in told(), 30, "half a renewal was not told")
        assert answers(old)
        shutil.copy(certificates.second[1], key)
        wait_for(lambda: answers(new), 30, "the new certificate is not shown")
        assert not answers(old)
        assert kept.get(f"{url}/healthz").is_success  # a connection from before goes on
    wait_for(lambda: not told(), 30, "the problem stayed")


def test_files_that_are_no_certificate_and_key_are_told(tmp_path: Path, certificates: Certificates) -> None:
    certificate, key = certificates.first
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no PEM at all", encoding="utf-8")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:abcd", "-in", key, "-out", str(locked)],
        check=True,
        capture_output=True,
    )
    for pair, said in [
        ((str(tmp_path / "away.pem"), key), "tls_certificate = .*away.pem' can't be read: No such file"),
        ((certificate, str(tmp_path / "away.key")), "tls_key = .*away.key' can't be read"),
        ((certificate, certificates.second[1]), "is not the key of"),
        ((str(nonsense), key), "are no certificate and key"),
        ((certificate, str(nonsense)), "are no certificate and key"),
        ((certificate, str(locked)), "is encrypted"),
    ]:
        with pytest.raises(SetupError, match=said):
            server_context(Path(pair[0]), Path(pair[1]))
    told = refused(tmp_path, "--port", "0", "--tls-certificate", certificate, "--tls-key", certificates.second[1])
    assert "is not the key of" in told
    assert not list(tmp_path.rglob("*.db"))


def test_times_of_the_file_are_read_back(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    store.add("a", ["view", "view", "predict"], now=datetime(2026, 1, 5, tzinfo=dt.timezone(timedelta(hours=2))))
    (kept,) = json.loads(store.path.read_text(encoding="utf-8"))
    assert kept["created_at"] == "2026-01-04T22:00:00.000000+00:00"
    (token,) = store.all()
    assert token.roles == ("view", "predict")
    assert token.created_at == datetime(2026, 1, 4, 22, tzinfo=UTC)


def test_a_token_written_in_thousands_of_ways_fills_nothing_and_stays_revoked(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    secret = store.add("a", ["view"], now=NOW)
    tokens = Tokens(tmp_path, always=False)
    for n in range(2500):
        assert tokens.caller(b"Bearer " + b" " * n + secret.encode(), "view") is not None
        with pytest.raises(NoTokenError):
            tokens.caller(b"Bearer guess-%d" % n, "view")
    assert len(tokens._met) <= 1000
    store.revoke("a")
    asyncio.run(_one_look(tokens))
    for n in range(2500):
        with pytest.raises(NoTokenError):
            tokens.caller(b"Bearer " + b" " * n + secret.encode(), "view")


async def _one_look(tokens: Tokens) -> None:
    following = asyncio.create_task(tokens.follow())
    before = tokens._known
    async with asyncio.timeout(30):
        while tokens._known is before:
            await asyncio.sleep(0.05)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
