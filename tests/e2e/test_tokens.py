"""`afterfit tokens` as a person uses it, beside a gateway that runs under `afterfit up` beyond loopback and over TLS."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from afterfit.adapters.token_store import digest
from tests.e2e.test_up import AFTERFIT, free_port, run
from tests.gateway.test_tokens import Certificates, bearer
from tests.world import wait_for

OPEN = {"AFTERFIT_HOST": "0.0.0.0"}


def test_a_token_is_made_listed_rotated_and_revoked(tmp_path: Path) -> None:
    assert "no token yet" in run(tmp_path, "tokens", "list")
    made = run(tmp_path, "tokens", "add", "shop", "--role", "predict", "--role", "outcome", "--rate", "5")
    secret = made.splitlines()[0]
    assert secret.startswith("afterfit_")
    assert "demands a token of everybody now" in made
    assert "there already" in run(tmp_path, "tokens", "add", "shop", "--role", "view", code=1)
    assert "Did you mean 'view'" in run(tmp_path, "tokens", "add", "other", "--role", "vew", code=1)
    listed = run(tmp_path, "tokens", "list")
    assert "shop" in listed
    assert secret not in listed
    (told,) = json.loads(run(tmp_path, "tokens", "list", "--json"))
    assert (told["name"], told["roles"], told["rate"]) == ("shop", ["predict", "outcome"], 5.0)
    assert "wanted a positive duration" in run(tmp_path, "tokens", "rotate", "shop", "--grace", "soon", code=1)
    rotated = json.loads(run(tmp_path, "tokens", "rotate", "shop", "--grace", "1h", "--json"))
    assert rotated["token"] not in ("", secret)
    assert json.loads(run(tmp_path, "tokens", "list", "--json"))[0]["previous_until"]
    assert "unknown token 'shpo'" in run(tmp_path, "tokens", "revoke", "shpo", code=1)
    assert "shop" in run(tmp_path, "doctor")
    said = run(tmp_path, "tokens", "revoke", "shop")
    assert "0 left" in said
    assert "tokens.json" in said
    assert "nobody may ask" in run(tmp_path, "tokens", "list")
    assert "nobody may ask" in run(tmp_path, "doctor")


def test_what_is_done_to_tokens_stands_on_the_ledger_without_their_secrets(tmp_path: Path) -> None:
    assert "no token was made" in run(tmp_path, "tokens", "history")
    secrets = [json.loads(run(tmp_path, "tokens", "add", "shop", "--role", "predict", "--json"))["token"]]
    run(tmp_path, "tokens", "add", "shop", "--role", "view", code=1)  # refused, so it was not done
    secrets.append(json.loads(run(tmp_path, "tokens", "rotate", "shop", "--grace", "1h", "--json"))["token"])
    run(tmp_path, "tokens", "revoke", "shop")
    entries = json.loads(run(tmp_path, "tokens", "history", "--json"))
    assert [entry["name"] for entry in entries] == ["token_added", "token_rotated", "token_revoked"]
    assert {(e["kind"], e["model"], e["actor"]) for e in entries} == {("token", "", f"person:{getpass.getuser()}")}
    assert {(e["data"]["name"], *e["data"]["roles"]) for e in entries} == {("shop", "predict")}
    told = run(tmp_path, "tokens", "history").splitlines()
    assert len(told) == 3
    assert "shop (predict): rotated by person:" in told[1]
    assert "the old one is valid until" in told[1]
    home = tmp_path / ".afterfit"
    kept = b"".join(path.read_bytes() for path in home.glob("control.db*"))
    for secret in secrets:
        assert secret.encode() not in kept
        assert digest(secret).encode() not in kept
    run(tmp_path, "doctor")  # the chain is whole
    assert json.loads(run(tmp_path, "status", "--json"))["models"] == {}


def test_without_a_ledger_no_token_is_made_and_one_can_be_taken_away(tmp_path: Path) -> None:
    for name in ("shop", "leaked"):
        run(tmp_path, "tokens", "add", name, "--role", "predict")
    home = tmp_path / ".afterfit"
    for path in home.glob("control.db*"):
        path.unlink()
    (home / "control.db").write_bytes(b"this is a letter\n" * 100)
    kept = (home / "tokens.json").read_bytes()
    for command in (("add", "other", "--role", "predict"), ("rotate", "shop")):
        assert "control.db is damaged" in run(tmp_path, "tokens", *command, code=3)
    assert (home / "tokens.json").read_bytes() == kept
    said = run(tmp_path, "tokens", "revoke", "leaked", code=3)
    assert "leaked is revoked; 1 left" in said
    assert "control.db is damaged" in said
    assert [token["name"] for token in json.loads(run(tmp_path, "tokens", "list", "--json"))] == ["shop"]


def test_doctor_and_up_say_what_an_open_host_lacks(tmp_path: Path) -> None:
    for command in ("up", "doctor"):
        assert "afterfit tokens add NAME --role predict" in run(tmp_path, command, code=3, **OPEN)
    assert not (tmp_path / ".afterfit" / "gateways").exists()
    run(tmp_path, "tokens", "add", "shop", "--role", "predict")
    assert "can be read on its way" in run(tmp_path, "doctor", code=0, **OPEN)
    tls = {"AFTERFIT_TLS_CERTIFICATE": "cert.pem", "AFTERFIT_TLS_KEY": "key.pem"}
    for command in ("up", "doctor"):
        assert "cert.pem' can't be read" in run(tmp_path, command, code=3, **OPEN, **tls)


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the program openssl makes the certificate, and is not here"
)
def test_up_serves_https_beyond_loopback_to_who_has_a_token(tmp_path: Path) -> None:
    certificate, key = Certificates(tmp_path).first
    secret = json.loads(run(tmp_path, "tokens", "add", "eye", "--role", "view", "--json"))["token"]
    port = free_port()
    settings = {"AFTERFIT_PORT": str(port), "AFTERFIT_TLS_CERTIFICATE": certificate, "AFTERFIT_TLS_KEY": key, **OPEN}
    environ = {**os.environ, "AFTERFIT_TICK": "1s", "AFTERFIT_MAX_BODY": "1", **settings}
    up = subprocess.Popen([*AFTERFIT, "up"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    url = f"https://127.0.0.1:{port}"
    try:
        with httpx.Client(verify=ssl.create_default_context(cafile=certificate), timeout=60.0) as client:

            def ready() -> bool:
                try:
                    return client.get(f"{url}/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(ready, 60.0, "the gateway of a home without a model was not ready")
            assert client.get(f"{url}/v1/models").status_code == 401
            assert client.get(f"{url}/v1/models", headers=bearer(secret)).json()["models"] == []
            new = json.loads(run(tmp_path, "tokens", "rotate", "eye", "--json"))["token"]
            wait_for(
                lambda: client.get(f"{url}/v1/models", headers=bearer(new)).status_code == 200, 30.0, "not taken over"
            )
            assert client.get(f"{url}/v1/models", headers=bearer(secret)).status_code == 401
            maker = json.loads(run(tmp_path, "tokens", "add", "maker", "--role", "predict", "--json"))["token"]
            posted = f"{url}/v1/models/m/predict"
            wait_for(lambda: client.post(posted, headers=bearer(maker)).status_code == 404, 30.0, "not taken over")
            large = client.post(posted, headers=bearer(maker), content=b" " * (2**20 + 1))
            assert large.status_code == 413
    finally:
        up.send_signal(signal.SIGINT)
        out, _ = up.communicate(timeout=60)
    assert up.returncode == 0
    assert f"https://0.0.0.0:{port}" in out
    log = (tmp_path / ".afterfit" / "logs" / "gateway.log").read_text(encoding="utf-8")
    assert not any(token in log for token in (secret, new, maker))
