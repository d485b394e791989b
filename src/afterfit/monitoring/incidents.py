"""Findings that belong together become one incident, from the first window that shows them to the last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from afterfit.monitoring.checks import QUALITY
from afterfit.monitoring.where import gathered
from afterfit.records import Finding, Incident, Severity, Window

QUIET = 3  # windows in a row without a finding after which an incident closes
MOST_MESSAGES = 20
MEANING = ("concept", "calibration", "sign")


def kind_of(finding: Finding) -> str:
    """quality (a feed is broken), drift (the inputs changed), concept (what follows from them changed) or performance
    (the answers got worse)."""
    if finding.check == "performance":
        return "performance"
    if finding.check in MEANING:
        return "concept"
    broken = finding.check in QUALITY or finding.severity is Severity.CRITICAL
    return "quality" if broken and finding.severity is Severity.CRITICAL else "drift"


def group(
    findings: Sequence[Finding],
    open_incidents: Sequence[Incident],
    *,
    model: str,
    version: int,
    window: Window,
    now: datetime,
    quiet: int = QUIET,
    harm: str = "",
) -> list[Incident]:
    """The incidents to save after one window: opened, continued, or closed. One is open per kind at most.

    A column with a quality finding explains its own drift: it opens no drift incident. What is only worth knowing (INFO:
    a feature moved that the model ignores) joins an open incident and opens none.

    Args:
        findings: of one window, healthy ones too: they tell whether a change is everywhere or in a segment only.
        open_incidents: the model's open ones of the kinds that these findings can have.
        window, now: what was looked at, and when.
        quiet: windows without a finding after which an incident closes.
        harm: how much worse the answers are, in words; a changed world that comes with it is critical, and says so.
    """
    drifted = gathered(findings)
    broken = {f.column for f in drifted if kind_of(f) == "quality"}
    by_kind: dict[str, list[Finding]] = {}
    for finding in drifted:
        kind = kind_of(finding)
        if kind == "quality" or finding.column not in broken:
            by_kind.setdefault(kind, []).append(finding)
    saved: list[Incident] = []
    known = {i.kind: i for i in open_incidents}
    for kind, mine in by_kind.items():
        if kind in known:
            saved.append(_continue(known[kind], mine, now))
        elif any(f.severity is not Severity.INFO for f in mine):
            saved.append(_open(kind, mine, model, version, window, now))
    saved = [_harmful(i, harm) if harm and i.kind in ("drift", "concept") else i for i in saved]
    saved += [_calm(i, now, quiet) for kind, i in known.items() if kind not in by_kind]
    return saved


def _open(kind: str, findings: list[Finding], model: str, version: int, window: Window, now: datetime) -> Incident:
    return Incident(
        id=f"{model}-{kind}-{window.start:%Y%m%dT%H%M}",
        model=model,
        kind=kind,
        opened_at=now,
        updated_at=now,
        severity=max((f.severity for f in findings), key=lambda s: s.rank),
        title=_title(findings),
        columns=_unique(f.column for f in findings),
        checks=_unique(f.check for f in findings),
        messages=_unique(f.message for f in findings)[:MOST_MESSAGES],
        version=version,
    )


def _continue(incident: Incident, findings: list[Finding], now: datetime) -> Incident:
    messages = (*incident.messages, *(f.message for f in findings if f.column not in incident.columns))
    return replace(
        incident,
        updated_at=now,
        severity=max((incident.severity, *(f.severity for f in findings)), key=lambda s: s.rank),
        columns=_unique((*incident.columns, *(f.column for f in findings))),
        checks=_unique((*incident.checks, *(f.check for f in findings))),
        messages=messages[:MOST_MESSAGES],
        quiet_windows=0,
    )


def _harmful(incident: Incident, harm: str) -> Incident:
    if incident.severity is Severity.CRITICAL:
        return incident
    return replace(incident, severity=Severity.CRITICAL, messages=(harm, *incident.messages)[:MOST_MESSAGES])


def _calm(incident: Incident, now: datetime, quiet: int) -> Incident:
    windows = incident.quiet_windows + 1
    return replace(incident, quiet_windows=windows, closed_at=now if windows >= quiet else None)


def _title(findings: list[Finding]) -> str:
    """The worst finding in its own words, and how many more columns there are."""
    ordered = sorted(findings, key=lambda f: (-f.severity.rank, f.p_value, -f.distance))
    others = [c for c in _unique(f.column for f in ordered) if c != ordered[0].column]
    more = f"; also {', '.join(others[:4])}{' ...' if len(others) > 4 else ''}" if others else ""
    return ordered[0].message + more


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
