"""The tables of the benchmark, as Markdown: medians over the rounds, and ratios as medians of the rounds' own ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from score import MANY, ONE, OURS, Bare, Rounds, added, batch_speeds, best, paired, tails

SERVERS = ("mlserver", "bentoml", "mlflow")
ASKED = {"pipeline": (40.0, 25.0), "linear": (5.0, 1.8), "null": (None, 1.0)}  # x best server, x FastAPI by hand
ADDED = (0.35, 1.5)  # ms over the bare call at one connection, p50 and p99, logistic regression
BATCH_SPEED = 0.5  # of the bare vectorised call, pipeline


def asked(results: Mapping[str, Rounds], bare: Mapping[str, Sequence[Bare]]) -> str:
    """What was asked of the gateway, beside what was measured; only where the contestants are in the run."""
    lines = ["| model | asked | measured | held |", "|---|---|---|---|"]
    for model, (servers, by_hand) in ASKED.items():
        rounds = results.get(model, {})
        if OURS not in rounds:
            continue
        fastest = best(rounds, SERVERS)
        if servers is not None and fastest is not None:
            told = f"requests/s at 32 ≥ {servers:g} x the best server ({fastest})"
            lines.append(_promise(model, told, median(paired(rounds, fastest)), servers))
        if "fastapi" in rounds:
            told = f"requests/s at 32 ≥ {by_hand:g} x FastAPI by hand"
            lines.append(_promise(model, told, median(paired(rounds, "fastapi")), by_hand))
        if model == "pipeline":
            lines += _of_pipeline(rounds, bare[model])
        if model == "linear":
            for key, found, most in zip(("p50", "p99"), added(rounds[OURS], bare[model]), ADDED, strict=True):
                lines.append(_promise(model, f"added {key} at 1 ≤ {most:g} ms", median(found), most, below=True))
    return "\n".join(lines) + "\n"


def _of_pipeline(rounds: Rounds, bare: Sequence[Bare]) -> list[str]:
    lines = []
    worst = {name: median(tails(rounds, name)) for name in (*SERVERS, "fastapi") if name in rounds}
    if worst:
        name = max(worst, key=lambda n: worst[n])
        told = f"p99 at 32 below their p50: as a share of the least ({name})"
        lines.append(_promise("pipeline", told, worst[name], 1.0, below=True))
    speeds = batch_speeds(rounds[OURS], bare)
    if speeds:
        told = f"large request ≥ {BATCH_SPEED:g} x the speed of the bare call"
        lines.append(_promise("pipeline", told, median(speeds), BATCH_SPEED))
    return lines


def _promise(model: str, told: str, value: float, limit: float, *, below: bool = False) -> str:
    held = value <= limit if below else value >= limit
    return f"| {model} | {told} | {value:,.3g} | {'yes' if held else '**no**'} |"


def measured(rounds: Rounds, titles: Mapping[str, str], failed: Mapping[str, str]) -> str:
    """Requests a second, latencies, errors and memory of each contestant."""
    lines = [
        "| | requests/s, 1 | p50 ms | p99 ms | requests/s, 32 | p50 ms | p99 ms | errors | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        if name in failed:
            lines.append(f"| {title} | failed: {_cell(failed[name])} |" + " |" * 7)
        if name not in rounds:
            continue
        cells = []
        for connections in (ONE, MANY):
            loads = [r.loads[connections] for r in rounds[name]]
            cells.append(f"{median(load.per_second for load in loads):,.0f}")
            cells += [f"{median(getattr(load, key) for load in loads):,.2f}" for key in ("p50_ms", "p99_ms")]
        errors = sum(load.errors for r in rounds[name] for load in r.loads.values())
        peak = max(r.peak_mb for r in rounds[name])
        lines.append(f"| {title} | {' | '.join(cells)} | {errors} | {peak:,.0f} |")
    return "\n".join(lines) + "\n"


def ratios(rounds: Rounds, titles: Mapping[str, str]) -> str:
    """Ours over each other contestant."""
    lines = [
        "| ours / | requests/s, 1 | requests/s, 32 | of the rounds | our p99 at 32 / their p50 |",
        "|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        if name == OURS or name not in rounds:
            continue
        one, many = paired(rounds, name, lambda r: r.loads[ONE].per_second), paired(rounds, name)
        between = f"{min(many):,.2f} to {max(many):,.2f}"
        tail = median(tails(rounds, name))
        lines.append(f"| {title} | {median(one):,.2f} | {median(many):,.2f} | {between} | {tail:,.3f} |")
    return "\n".join(lines) + "\n"


def overhead(rounds: Rounds, bare: Sequence[Bare]) -> str:
    """What the bare call takes in process, and what ours adds to it at one connection."""
    graphs = [b.graph_p50 for b in bare if b.graph_p50 is not None]
    told = f"through the ONNX graph {median(graphs):.3f} ms" if graphs else "no ONNX graph"
    p50, p99 = (median(values) for values in added(rounds[OURS], bare))
    return (
        f"In process, one row: predict_proba {median(b.python_p50 for b in bare):.3f} ms, {told}. Ours at one "
        f"connection adds {p50:.3f} ms (p50) and {p99:.3f} ms (p99) to the faster one's p50.\n"
    )


def batches(rounds: Rounds, titles: Mapping[str, str], bare: Sequence[Bare], rows: int) -> str:
    """All rows in one request, beside the bare vectorised call."""
    call = median(b.batch_s for b in bare)
    lines = [
        f"| {rows:,} rows in one request | seconds | rows/s | speed / bare call |",
        "|---|---|---|---|",
        f"| predict_proba in process | {call:.3f} | {rows / call:,.0f} | 1 |",
    ]
    for name, title in titles.items():
        took = [r.batch_s for r in rounds.get(name, ()) if r.batch_s is not None]
        if took:
            beside = median(batch_speeds(rounds[name], bare))
            lines.append(f"| {title} | {median(took):.3f} | {rows / median(took):,.0f} | {beside:.3f} |")
        elif name in rounds:
            lines.append(f"| {title} | failed: {_cell(rounds[name][0].problem)} | | |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[-300:]
