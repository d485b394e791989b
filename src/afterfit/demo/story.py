"""Tells what happened: a timeline for people, losses by month, and one JSON document with all of it (docs/demo.md)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from afterfit.adapters.model_folder import load_model
from afterfit.demo.data import FEATURES
from afterfit.demo.troubles import FAHRENHEIT, Trouble
from afterfit.lifecycle import Happening
from afterfit.records import Entry, Incident, Role, Window
from afterfit.stats.losses import reported_loss

if TYPE_CHECKING:
    from afterfit.demo.run import Play

SCHEMA = 1
SUMMER = (6, 7, 8)
MINOR = ("step_passed", "trained", "rolled_back")  # in the document, not in the printed timeline
CLOCK_STEP = pd.Timedelta(days=1)  # what happens within a step of the clock is told at its beginning
LONGEST = 150  # characters of a reason in the printed timeline

_SAID = {
    Happening.DEPLOYED.value: "is sent on its way",
    Happening.FAST_TRACKED.value: "goes straight to canary",
    Happening.RETRAIN_STARTED.value: "retraining starts",
    Happening.TRAINED.value: "is trained",
    Happening.TRAIN_FAILED.value: "training failed",
    Happening.GATE_PASSED.value: "passes the gate",
    Happening.GATE_FAILED.value: "is stopped at the gate",
    Happening.SHADOW_PASSED.value: "passes shadow, gets canary traffic",
    Happening.STEP_PASSED.value: "passes a canary step",
    Happening.LAST_STEP_PASSED.value: "goes to nearly everyone, provisionally",
    Happening.CONFIRMED.value: "is promoted",
    Happening.HARMED.value: "does harm and is rolled back",
    Happening.HELD.value: "is held: no verdict by the deadline",
    Happening.ROLLED_BACK.value: "rollback is complete on every gateway",
    "worker_died": "worker died and was started again",
    "memory_short": "may need more memory than is free",
}


def tell(play: Play, *, began: float, seed: int, trouble: bool) -> dict[str, Any]:
    """Collect the story, print it, and return it as JSON-able data."""
    entries = [e for e in play.book.entries if e.kind != "done"]
    incidents = sorted(play.loop.home.store.incidents(play.book.model), key=lambda i: i.opened_at)
    rows = _served(play)
    _detect(play.troubles, entries, incidents)
    months = _by_month(rows, _frozen(play, rows))
    result = {
        "schema": SCHEMA,
        "model": play.book.model,
        "seed": seed,
        "trouble": trouble,
        "seconds": round(time.monotonic() - began, 1),
        "versions": _versions(play),
        "timeline": _timeline(entries, play.troubles),
        "decisions": [_decision(e) for e in entries if e.kind == "event"],
        "incidents": [_incident(i) for i in incidents],
        "troubles": [_trouble(t) for t in play.troubles],
        "loss_by_month": months,
        "summer": _summer(months),
        "retrains": _retrains(entries),
        "counts": _counts(play, rows),
        "rollouts": _exposure(entries, rows),
    }
    show(result, play.console)
    return result


def show(story: dict[str, Any], console: Console) -> None:
    """Print the story."""
    console.print()
    table = Table("when", "what happened", "why", title="The year of flight-delay", title_justify="left", expand=True)
    colours = {"trouble": "magenta", "incident": "red", "promoted": "green", "rolled back": "yellow"}
    for item in story["timeline"]:
        if item["kind"] in MINOR:
            continue
        style = colours.get(item["kind"], "")
        table.add_row(item["at"][:16].replace("T", " "), item["what"], _short(item["why"]), style=style)
    console.print(table)
    console.print()
    table = Table("month", "flights", "live", "frozen v1", "better by", title="Log loss", title_justify="left")
    for m in story["loss_by_month"]:
        gain = 1 - m["live"] / m["frozen"]
        table.add_row(m["month"], f"{m['n']:,}", f"{m['live']:.4f}", f"{m['frozen']:.4f}", f"{gain:+.1%}")
    console.print(table)
    if story["summer"]:
        s = story["summer"]
        console.print(
            f"June to August: {s['live']:.4f} live against {s['frozen']:.4f} for version 1 left alone: "
            f"[bold]{s['gain']:.1%} better[/bold]"
        )
    console.print()
    for t in story["troubles"]:
        found = f"noticed after {t['time_to_detection']}: {t['detected_as']}" if t["detected"] else "NOT noticed"
        state = found if t["injected"] else "did not happen (its day never came)"
        console.print(f"[magenta]trouble[/magenta] {t['title']} ({t['at'][:10]}): {state}")
    c = story["counts"]
    console.print(
        f"\n{c['acknowledged']:,} predictions acknowledged, {c['in_lake']:,} in the lake, "
        f"{c['missing']} missing, {c['duplicated']} twice, {c['failed']} failed; "
        f"{story['retrains']['promoted']} of {story['retrains']['started']} retrainings promoted, "
        f"{len(story['incidents'])} incidents, {story['seconds']:.0f} s"
    )
    console.print("\nLook next:")
    for command in (
        f"afterfit why {story['model']}",
        f"afterfit who-was-live {story['model']} --at 2013-07-15",
        f"afterfit incidents {story['model']}",
        f"afterfit history {story['model']}",
    ):
        console.print(f"  {command}")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def _served(play: Play) -> pa.Table:
    features = play.loop.champion(play.book).features
    start, end = pd.Timestamp("2013-03-01", tz="UTC"), pd.Timestamp("2014-01-02", tz="UTC")
    table = play.loop.home.lake.labelled(
        play.book.model, Window(start.to_pydatetime(), end.to_pydatetime()), features=features
    )
    return table.filter(pa.compute.not_equal(table["role"], Role.HISTORY.value))


def _frozen(play: Play, rows: pa.Table) -> np.ndarray:
    """What version 1 would have answered to the same rows, trouble included: (n_rows, 2) class probabilities."""
    first = play.loop.home.store.versions(play.book.model)[0]
    frame = pd.DataFrame({name: rows[f"f:{name}"].to_pandas() for name in FEATURES})
    return np.asarray(load_model(first).predict_proba(frame[FEATURES]))


def _by_month(rows: pa.Table, frozen: np.ndarray) -> list[dict[str, Any]]:
    time = rows["time"].to_pandas()
    known = rows["outcome"].is_valid().to_numpy() & rows["scores"].is_valid().to_numpy()
    late = pd.to_numeric(rows["outcome"].to_pandas(), errors="coerce").to_numpy()
    live = np.array([s if s is not None else (np.nan, np.nan) for s in rows["scores"].to_pylist()])
    month = time.dt.tz_convert("America/New_York").dt.month.to_numpy()
    found = []
    for number in range(3, 13):
        mine = known & (month == number)
        if not mine.any():
            continue
        truth = late[mine].astype(int)
        classes = (0, 1)
        losses = [
            float(reported_loss("binary", truth, truth, scores[mine], classes).mean()) for scores in (live, frozen)
        ]
        found.append({"month": f"2013-{number:02d}", "n": int(mine.sum()), "live": losses[0], "frozen": losses[1]})
    return found


def _summer(months: list[dict[str, Any]]) -> dict[str, float] | None:
    mine = [m for m in months if int(m["month"][5:]) in SUMMER]
    n = sum(m["n"] for m in mine)
    if len(mine) < len(SUMMER):
        return None
    live, frozen = (sum(m[k] * m["n"] for m in mine) / n for k in ("live", "frozen"))
    return {"live": live, "frozen": frozen, "gain": 1 - live / frozen}


def _timeline(entries: list[Entry], troubles: list[Trouble]) -> list[dict[str, str]]:
    items = [_said(e) for e in entries if e.name in _SAID or e.name.startswith("incident")]
    for t in troubles:
        if t.injected_at is not None:
            items.append(
                {
                    "at": t.injected_at.isoformat(),
                    "kind": "trouble",
                    "what": f"TROUBLE: {t.title}",
                    "why": "injected by the demo",
                }
            )
            if t.kind == "feed":
                items.append(
                    {
                        "at": t.until.isoformat(),
                        "kind": "trouble",
                        "what": "TROUBLE over: the feed is back to °F",
                        "why": "injected by the demo",
                    }
                )
    return sorted(items, key=lambda i: i["at"])


def _said(entry: Entry) -> dict[str, str]:
    at, data = entry.at.isoformat(), entry.data
    if entry.name.startswith("incident"):
        verb = "opens" if entry.name == "incident_opened" else "closes"
        return {
            "at": at,
            "kind": "incident",
            "what": f"incident {verb} ({data['kind']}, {data['severity']})",
            "why": data["title"],
        }
    version = f"version {data['version']} " if "version" in data else ""
    kind = {"confirmed": "promoted", "harmed": "rolled back"}.get(entry.name, entry.name)
    said = _SAID[entry.name]
    if entry.name == Happening.HARMED.value and data["verdict"]["outlook"] != "harm":
        said = "earns no verdict in time and is dropped"
    share = f" ({data['weight']:.0%} of traffic)" if "weight" in data else ""
    return {"at": at, "kind": kind, "what": f"{version}{said}{share}", "why": _why(entry)}


def _why(entry: Entry) -> str:
    return str(
        entry.data.get("why") or entry.data.get("title") or "; ".join(entry.data.get("verdict", {}).get("reasons", ()))
    )


def _decision(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "event": entry.name,
        "actor": entry.actor,
        "version": entry.data.get("version"),
        "weight": entry.data.get("weight"),
        "reasons": list(entry.data.get("verdict", {}).get("reasons", ())) or [_why(entry)],
        "outlook": entry.data.get("verdict", {}).get("outlook"),
    }


def _incident(i: Incident) -> dict[str, Any]:
    return {
        "id": i.id,
        "kind": i.kind,
        "severity": i.severity.value,
        "title": i.title,
        "columns": list(i.columns),
        "checks": list(i.checks),
        "messages": list(i.messages),
        "opened_at": i.opened_at.isoformat(),
        "closed_at": i.closed_at.isoformat() if i.closed_at else None,
    }


def _versions(play: Play) -> list[dict[str, Any]]:
    return [
        {
            "version": v.version,
            "origin": v.origin,
            "created_at": v.created_at.isoformat(),
            "rows": v.n_rows,
            "data_sha256": v.data_sha256,
            "data_from": v.data_from.isoformat() if v.data_from else None,
            "data_to": v.data_to.isoformat() if v.data_to else None,
            "params": dict(v.params),
            "metrics": dict(v.metrics),
        }
        for v in play.loop.home.store.versions(play.book.model)
    ]


def _detect(troubles: list[Trouble], entries: list[Entry], incidents: list[Incident]) -> None:
    """How each trouble was noticed, if it was: by what the loop itself wrote down."""
    for t in troubles:
        if t.injected_at is None:
            continue
        if t.kind == "feed":
            hits = [i for i in incidents if i.kind == "quality" and i.opened_at >= t.at and "unit" in i.checks]
            found = [(i.opened_at, i.title) for i in hits if set(i.columns) & set(FAHRENHEIT)]
        elif t.kind == "release":
            harmed = [e for e in entries if e.name == Happening.HARMED.value]
            found = [(e.at, _why(e)) for e in harmed if e.data.get("version") == t.detail["version"]]
        else:
            found = [(e.at, e.data["title"]) for e in entries if e.name == "worker_died" and e.at >= t.at - CLOCK_STEP]
        if found:
            at, t.detected_as = min(found)
            t.detected_at = pd.Timestamp(at)
            elapsed = (t.detected_at - t.injected_at).total_seconds()
            # A death is noticed in wall time, by the gateway; the simulated clock only says in which step it was told.
            t.seconds_to_detection = t.detail.get("noticed_after_s", elapsed)


def _trouble(t: Trouble) -> dict[str, Any]:
    return {
        "kind": t.kind,
        "title": t.title,
        "at": t.at.isoformat(),
        "until": t.until.isoformat(),
        "injected": t.injected_at is not None,
        "detected": t.detected_at is not None,
        "detected_at": t.detected_at.isoformat() if t.detected_at else None,
        "detected_as": t.detected_as,
        "seconds_to_detection": t.seconds_to_detection,
        "time_to_detection": _duration(t.seconds_to_detection),
        **t.detail,
    }


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds / 3600:.0f} hours" if seconds >= 3600 else f"{seconds:.2f} s"


def _retrains(entries: list[Entry]) -> dict[str, int]:
    trained = {e.data["version"] for e in entries if e.name == Happening.TRAINED.value}
    promoted = {e.data["version"] for e in entries if e.name == Happening.CONFIRMED.value}
    started = sum(e.name == Happening.RETRAIN_STARTED.value for e in entries)
    return {"started": started, "trained": len(trained), "promoted": len(trained & promoted)}


def _counts(play: Play, rows: pa.Table) -> dict[str, Any]:
    tally = play.playing().tally
    ids = rows["prediction_id"].to_pylist()
    return {
        "sent": tally.sent,
        "acknowledged": tally.acknowledged,
        "failed": tally.failed,
        "in_lake": len(ids),
        "missing": tally.acknowledged - len(set(ids)),
        "duplicated": len(ids) - len(set(ids)),
        "outcomes_sent": tally.outcomes_sent,
        "outcomes_acknowledged": tally.outcomes_acknowledged,
        "by_version": {str(v): n for v, n in sorted(tally.by_version.items())},
        **{f"lake_{k}": v for k, v in play.loop.home.lake.counts(play.book.model).items()},
    }


def _exposure(entries: list[Entry], rows: pa.Table) -> list[dict[str, Any]]:
    """Per candidate: the largest share it was allowed, and the share of the served rows it really got meanwhile."""
    found = []
    versions, rollouts = rows["version"].to_numpy(), np.array(rows["rollout"].to_pylist(), dtype=object)
    for version in sorted({e.data["version"] for e in entries if e.data.get("weight") and "version" in e.data}):
        allowed = max(e.data["weight"] for e in entries if e.data.get("version") == version and e.data.get("weight"))
        ends = [e.name for e in entries if e.data.get("version") == version and e.name in ("confirmed", "harmed")]
        salts = set(rollouts[versions == version]) - {None}
        during = np.isin(rollouts, list(salts))
        share = float((versions[during] == version).mean()) if during.any() else 0.0
        found.append({"version": version, "allowed": allowed, "served_share": share, "end": ends[-1] if ends else None})
    return found
