"""`afterfit tokens`: make, list, rotate and revoke the tokens of a gateway, which takes the change over within a second."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from afterfit.adapters.token_store import ROLES, Token, TokenStore
from afterfit.cli_options import CONFIG, AsJson, ConfigFile, config_of, out, print_json
from afterfit.config import Config, duration

if TYPE_CHECKING:
    from afterfit.adapters.control_store import ControlStore
    from afterfit.ports import Ledger

NO_MODEL = ""  # of entries that belong to the gateway; no model has an empty name
app = typer.Typer(help="Tokens of the gateway: who may ask, and how much.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="who uses it, such as shop")],
    role: Annotated[list[str], typer.Option(help=f"{', '.join(ROLES)}; may be repeated")],
    rate: Annotated[float | None, typer.Option(help="requests a second; default: no limit")] = None,
    concurrency: Annotated[int | None, typer.Option(help="requests under way at once; default: no limit")] = None,
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once. From the first one on the gateway demands a token of everybody."""
    settings, now = config_of(config), _now()
    store = _store(settings)
    first = not store.exists()
    with _ledger(settings) as ledger:
        note = partial(_note, ledger, "token_added", now)
        secret = store.add(name, role, now=now, rate=rate, concurrency=concurrency, before=note)
    _tell(name, secret, as_json, "the gateway demands a token of everybody now" if first else "")


@app.command("list")
def list_all(config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """Names, roles and limits; the tokens themselves are not kept."""
    store = _store(config_of(config))
    tokens = store.all()
    if as_json:
        print_json([_shown(token) for token in tokens])
        return
    if not tokens:
        out.print("no token is left, so nobody may ask" if store.exists() else "no token yet")
        return
    table = Table("name", "roles", "rate", "concurrency", "made", "the one before is valid until")
    for token in tokens:
        told = _shown(token)
        limits = [str(told[key]) if told[key] is not None else "" for key in ("rate", "concurrency")]
        until = f"{token.previous_until:%Y-%m-%d %H:%M}" if token.previous_until else ""
        table.add_row(token.name, ", ".join(token.roles), *limits, f"{token.created_at:%Y-%m-%d %H:%M}", until)
    out.print(table)


@app.command()
def rotate(
    name: str,
    grace: Annotated[
        str | None, typer.Option(help="how long the old one stays valid, such as 1h; default: it ends now")
    ] = None,
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Replace a token by a new one with the same roles and limits."""
    seconds = 0.0 if grace is None else duration(grace, "--grace")
    settings, now = config_of(config), _now()
    with _ledger(settings) as ledger:
        note = partial(_note, ledger, "token_rotated", now)
        secret = _store(settings).rotate(name, now=now, grace=seconds, before=note)
    _tell(name, secret, as_json, f"the old one is valid for {grace} more" if grace else "the old one has ended")


@app.command()
def revoke(name: str, config: ConfigFile = CONFIG) -> None:
    """Take a token away; requests with it are refused within a second."""
    settings = config_of(config)
    store = _store(settings)
    token, left = store.revoke(name)
    out.print(f"{escape(name)} is revoked; {left} left")
    if not left:
        out.print(f"nobody may ask now: add a token, or remove {escape(str(store.path))} to do without on this machine")
    with _ledger(settings) as ledger:  # last: a database that is down must keep nobody from taking a token away
        _note(ledger, "token_revoked", _now(), token)


@app.command()
def history(config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """Who made, rotated and revoked which token, oldest first: what the ledger says."""
    with _ledger(config_of(config)) as ledger:
        entries = ledger.entries(NO_MODEL, kind="token")
    if as_json:
        print_json(msgspec.to_builtins(entries))
        return
    for entry in entries:
        did, roles = entry.name.removeprefix("token_"), ", ".join(entry.data["roles"])
        until = f"; the old one is valid until {entry.data['previous_until']}" if entry.data["previous_until"] else ""
        out.print(escape(f"{entry.at:%Y-%m-%d %H:%M} {entry.data['name']} ({roles}): {did} by {entry.actor}{until}"))
    if not entries:
        out.print("no token was made, rotated or revoked")


def _ledger(config: Config) -> ControlStore:
    from afterfit.adapters.control_store import ControlStore

    return ControlStore.open(config.home.resolve(), config.database)


def _note(ledger: Ledger, name: str, at: datetime, token: Token) -> None:
    """Write down what is done to a token: everything that `list` shows, and so neither the secret nor its hash."""
    actor = f"person:{getpass.getuser()}"
    ledger.append(at=at, model=NO_MODEL, kind="token", name=name, actor=actor, data=_shown(token))


def _store(config: Config) -> TokenStore:
    return TokenStore(config.home)


def _shown(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "roles": list(token.roles),
        "rate": token.rate,
        "concurrency": token.concurrency,
        "created_at": token.created_at.isoformat(),
        "previous_until": token.previous_until.isoformat() if token.previous_until else None,
    }


def _tell(name: str, secret: str, as_json: bool, more: str) -> None:
    """The token alone on its line, so that a script can take it."""
    if as_json:
        print_json({"name": name, "token": secret})
        return
    out.print(secret, markup=False)
    out.print(f"that is the token of {escape(name)}, shown this once" + (f"; {more}" if more else ""), style="dim")


def _now() -> datetime:
    return datetime.now(UTC)
