"""Answers for people: what is live, what is under way, what is wrong; and the doctor's examination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from afterfit.adapters.expected_memory import expected_memory, free_memory
from afterfit.adapters.journal_file import JournalReader
from afterfit.adapters.tls import server_context
from afterfit.adapters.token_store import TokenStore, refuse_open
from afterfit.config import Config
from afterfit.errors import AfterfitError, StoreError
from afterfit.home import Home
from afterfit.loop.conductor import Loop, describe
from afterfit.loop.estimates import audit_of
from afterfit.loop.memory import in_words
from afterfit.loop.view import losses_of, said
from afterfit.monitoring.completeness import share
from afterfit.records import Entry


def status(loop: Loop, now: datetime) -> dict[str, Any]:
    """Everything `afterfit status` shows, JSON-able."""
    gateways = [
        {
            "gateway": a.gateway,
            "url": a.url,
            "routes": a.number,
            "problems": dict(a.problems),
            "served": dict(a.served),
            "degraded": dict(a.degraded),
            "dropped": dict(a.dropped),
            "memory": dict(a.memory),
        }
        for a in loop.home.board.acknowledgements()
    ]
    return {
        "home": str(loop.home.config.home),
        "routes": loop.home.board.current().number,
        "gateways": gateways,
        "models": {name: _model(loop, name, gateways, now) for name in loop.models()},
    }


def _model(loop: Loop, name: str, gateways: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    book = loop.book(name)
    last = next((e for e in reversed(book.entries) if e.kind == "event"), None)
    live = book.state.champion is not None
    return {
        "summary": describe(book.state),
        "phase": book.state.phase.value,
        "champion": book.state.champion,
        "candidate": book.state.candidate,
        "weights": {str(v): w for v, w in book.state.weights.items()},
        "since": book.crowned[-1][1].isoformat() if book.crowned else None,
        "versions": [v.version for v in loop.home.store.versions(name)],
        "lane": _lane(loop, book.state.champion, name),
        "counts": loop.home.lake.counts(name),
        "on_the_way": _on_the_way(loop.home.config.home / "journal", name),
        "outcome_delay": _hours(loop.senses.outcomes.maturity(name, loop.config(name), now)) if live else None,
        "performance": _performance(loop, name),
        "estimates": _estimates(loop, name) if live else None,
        "gateways": ", ".join(f"{g['gateway']} {g['url']} routes {g['routes']}" for g in gateways) or "none is running",
        "log": _log(name, gateways),
        "degraded": _degraded(name, gateways),
        "memory": _memory(name, gateways),
        "expected_memory": _expected(loop, name),
        "last_event": _event(last) if last else None,
        "incidents": [
            {"id": i.id, "severity": i.severity.value, "title": i.title, "opened_at": i.opened_at.isoformat()}
            for i in loop.home.store.incidents(name, open_only=True)
        ],
    }


def _event(entry: Entry) -> str:
    """What happened last, and why: a first version that did not pass its gate tells it here."""
    why = entry.data.get("why")
    return f"{entry.name} at {entry.at:%Y-%m-%d %H:%M}" + (f": {why}" if why else "")


def _log(name: str, gateways: list[dict[str, Any]]) -> str | None:
    """The completeness of what the running gateways logged since they started; None where they answered nothing."""
    served = sum(g["served"].get(name, 0) for g in gateways)
    lost = sum(g["dropped"].get(f"{name} not logged", 0) for g in gateways)
    if not served + lost:
        return None
    return f"{share(served, lost):.2%} of {served + lost:,} answered rows are in the log"


def _on_the_way(journals: Path, name: str) -> str | None:
    """What gateways logged since the controller last looked; None where that is nothing."""
    waiting = 0
    try:
        for path in journals.glob("*.db"):
            with JournalReader(path) as journal:
                waiting += journal.waiting(name)
    except StoreError as error:
        return str(error)
    if not waiting:
        return None
    entries = "entry" if waiting == 1 else "entries"
    return f"{waiting:,} {entries} of the journal, in the lake at the controller's next look"


def _degraded(name: str, gateways: list[dict[str, Any]]) -> str | None:
    """Who answered instead of the routed version, how often since the gateways started."""
    found: Counter[str] = Counter()
    for gateway in gateways:
        for place, rows in gateway["degraded"].items():
            model, _, who = place.rpartition("/")
            found[who] += rows if model == name else 0
    return ", ".join(f"{rows} rows by {who}" for who, rows in sorted(found.items()) if rows) or None


def _memory(name: str, gateways: list[dict[str, Any]]) -> str | None:
    """The most that a version's worker process took so far, from its probe on."""
    found: dict[str, float] = {}
    for gateway in gateways:
        for place, megabytes in gateway["memory"].items():
            model, _, version = place.rpartition("/")
            if model == name:
                found[version] = max(megabytes, found.get(version, 0.0))
    return ", ".join(f"version {v} {megabytes:.0f} MB" for v, megabytes in sorted(found.items())) or None


def _expected(loop: Loop, name: str) -> str | None:
    """What the newest versions will take, told whether they are loaded or not."""
    newest = loop.home.store.versions(name)[-3:]
    if not newest:
        return None
    told = [f"version {v.version} {in_words(expected_memory(v.folder))}" for v in newest]
    return f"{', '.join(told)}; {free_memory():.0f} MB are free"


def _lane(loop: Loop, champion: int | None, name: str) -> str | None:
    """How the champion is asked, and why not faster."""
    if champion is None:
        return None
    tags = loop.home.store.version(name, champion).tags
    told = [tags.get("lane", "python"), tags.get("lane_why", ""), tags.get("lane_trial", "")]
    return "; ".join(text for text in told if text)


def _performance(loop: Loop, name: str) -> str | None:
    """The newest window whose outcomes are mature."""
    mature = [one for one in losses_of(loop.home.store, name) if one.loss is not None]
    return said(mature[-1]) if mature else None


def _estimates(loop: Loop, name: str) -> str:
    """Whether the champion's performance can be told before outcomes are known, and how often it was told right."""
    found = audit_of(loop.home.store, loop.champion(loop.book(name)))
    if found.coverage is None:
        return "none has matured yet"
    right = f"{found.covered} of {found.windows} windows held what came true ({found.coverage:.0%})"
    return f"downgraded, no evidence any more: {found.reason}" if found.downgraded else f"trusted: {right}"


def _hours(seconds: float) -> str:
    return f"mature after {seconds / 3600:.1f} h"


def doctor(config: Config) -> tuple[list[str], dict[str, Any]]:
    """(problems, facts): the settings in force, whether each store opens, and whether the ledger's chain is whole."""
    facts: dict[str, Any] = {
        "home": str(config.home),
        "gateway": f"{config.host}:{config.port}",
        "tick": f"{config.tick:g} s",
        "control store": config.database or "SQLite under home",
        "MLflow": config.tracking_uri or "SQLite under home",
    }
    for name, model in config.models.items():
        facts[f"model {name}"] = model
    try:
        home = Home.open(config)
    except AfterfitError as error:
        return [str(error)], facts
    problems = home.store.verify()
    facts["ledger entries"] = len(home.store.entries())
    checks: dict[str, Callable[[], Any]] = {
        "routes": lambda: f"number {home.board.current().number}",
        "lake": lambda: {name: home.lake.counts(name) for name in home.store.models()},
        "registry": lambda: {name: home.registry.champion(name) for name in home.store.models()},
        "tokens": lambda: _tokens(config),
        "TLS": lambda: _tls(config),
    }
    for what, check in checks.items():
        try:
            facts[what] = check()
        except AfterfitError as error:
            problems.append(f"{what}: {error}")
    home.close()
    return problems, facts


def _tokens(config: Config) -> str:
    refuse_open(config.host, config.home)
    store = TokenStore(config.home)
    names = [token.name for token in store.all()]
    if not names and store.exists():
        return f"none is left, so nobody may ask; remove {store.path} to do without on this machine"
    return ", ".join(names) or "none: who can connect from this machine may ask"


def _tls(config: Config) -> str:
    if config.tls_certificate is None or config.tls_key is None:
        return "none: what is sent, tokens too, can be read on its way"
    server_context(config.tls_certificate, config.tls_key)
    return str(config.tls_certificate)
