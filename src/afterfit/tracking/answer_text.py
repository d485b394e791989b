"""Puts an answer into words for a person at a terminal; what it says was decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_INDENT = " " * 17
_FIRST = ("holdout_loss", "baseline_loss", "log_loss", "mae", "accuracy", "roc_auc")
_NOT_SHOWN = ("holdout_loss_sd", "holdout_n")


def as_text(answer: Mapping[str, Any]) -> str:
    """Several lines: who is live, why, hyperparameters, data, evaluation, last training, rollback."""
    lines = [_headline(answer)]
    if answer["version"] is not None:
        lines += _block("why", [_link(link) for link in answer["why"]] or ["the ledger does not say"])
        lines += _block("hyperparameters", [f"{k} = {v}" for k, v in answer["params"].items()] or ["none recorded"])
        lines += _block("data", [_data(answer["data"])])
        lines += _block("evaluation", [_evaluation(answer["evaluation"])])
        lines += _block("version", [_made(answer["made"])])
    elif answer["why"]:
        lines += _block("why", [_link(link) for link in answer["why"]])
    lines += _block("last retrained", [_retrained(answer["last_retrained"])])
    lines += _block("rollback", [answer["rollback"]["what"]])
    return "\n".join(lines)


def _headline(answer: Mapping[str, Any]) -> str:
    model, version, asked = answer["model"], answer["version"], answer["asked_at"]
    when = "" if asked is None else f" at {_time(asked)}"
    if version is None:
        return f"{model}: nothing {'is' if asked is None else 'was'} live{when} ({answer['phase']})"
    text = f"{model}: version {version} {'is' if asked is None else 'was'} live{when}, since {_time(answer['since'])}"
    if asked is not None and answer["until"] is not None:
        text += f" until {_time(answer['until'])}"
    shares = {v: w for v, w in answer["weights"].items() if v != version}
    others = "".join(f"; candidate {v} answers {w:.1%}" for v, w in shares.items())
    return f"{text} ({answer['phase'].replace('_', ' ')}{others})"


def _block(title: str, lines: list[str]) -> list[str]:
    return [f"{'  ' + title if i == 0 else '':<{len(_INDENT)}} {line}" for i, line in enumerate(lines)]


def _link(link: Mapping[str, Any]) -> str:
    about = "" if link["version"] is None else f" version {link['version']}"
    by = "" if link["actor"] == "controller" else f" by {link['actor'].removeprefix('person:')}"
    reason = f": {link['why']}" if link["why"] else ""
    return f"{_time(link['at'])}  {link['name'].replace('_', ' ')}{about}{by}{reason}"


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return "no record of this version"
    span = f", {_time(data['from'])} to {_time(data['to'])}" if data["from"] else ", times not given"
    digest = f", sha256 {data['sha256']}" if data["sha256"] else ""
    return f"{data['rows']:,} rows of {len(data['features'])} features{span}{digest}"


def _evaluation(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return "none: it was registered without a hold-out"
    names = [n for n in _FIRST if n in metrics] + [n for n in metrics if n not in (*_FIRST, *_NOT_SHOWN)]
    rows = f", on {metrics['holdout_n']:,.0f} held-out rows" if "holdout_n" in metrics else ""
    return ", ".join(f"{n} {metrics[n]:.4g}" for n in names) + rows


def _made(made: Mapping[str, Any]) -> str:
    if not made:
        return "no record of this version"
    return f"{made['origin']} on {_time(made['created_at'])}, {made['uri']}, model sha256 {made['model_sha256']}"


def _retrained(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "never by Afterfit"
    return f"{_time(last['at'])}, which gave version {last['version']}" + (f" ({last['why']})" if last["why"] else "")


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
