"""`python benchmarks/gateway/conformance.py`: the Open Inference suite on MLServer and on ours, side by side, as Markdown.

Each serves the logistic regression, asked with one tensor, and the pipeline, asked with one input a column. MLServer's
environment is made on first use, as for the benchmark.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from bodies import V2_COLUMNS, V2_TENSOR  # noqa: E402
from environments import cache  # noqa: E402
from models import LINEAR, PIPELINE, Model, build  # noqa: E402
from ours import Ours  # noqa: E402
from peers import PEERS, Start  # noqa: E402
from score import OURS  # noqa: E402
from servers import await_answer, free_port, running  # noqa: E402

from afterfit.testing.open_inference import Report, check_open_inference  # noqa: E402

CASES = {LINEAR: ("one tensor", V2_TENSOR), PIPELINE: ("a column each", V2_COLUMNS)}
ROWS = 3


def main() -> None:
    folder = cache() / "conformance"
    shutil.rmtree(folder, ignore_errors=True)
    reports: dict[str, Report] = {}
    for name in CASES:
        model = build(name, folder / "models" / name)
        for contestant in ("mlserver", OURS):
            reports[f"{'MLServer' if contestant == 'mlserver' else 'Afterfit'}, {CASES[name][0]}"] = _report(
                contestant, model, folder / contestant / name
            )
    print(table(reports))


def table(reports: dict[str, Report]) -> str:
    """One row a check, one column a server and kind of input; what failed is told below."""
    lines = [f"| check | level | {' | '.join(reports)} |", "|---|---|" + "---|" * len(reports)]
    told = []
    for results in zip(*(report.results for report in reports.values()), strict=True):
        outcomes = ["pass" if r.outcome == "pass" else f"**{r.outcome}**" for r in results]
        lines.append(f"| {results[0].requirement} | {results[0].level} | {' | '.join(outcomes)} |")
        told += [
            f"* {title}, *{r.name}*: {r.found[:300]}"
            for title, r in zip(reports, results, strict=True)
            if r.outcome != "pass"
        ]
    return "\n".join([*lines, "", *told])


def _report(contestant: str, model: Model, place: Path) -> Report:
    place.mkdir(parents=True)
    port, dialect = free_port(), CASES[model.name][1]
    start = _ours(model, place, port) if contestant == OURS else _peer(contestant, model, place, port)
    served = model.name if contestant == OURS else "m"
    body, log = dialect.body(model.records[:1]), place / "server.log"
    asked = dialect.ask(model.records[:ROWS])
    with running(start.command, port=port, path=start.path, env=start.env, cwd=place, core=[], log=log) as server:
        if contestant != OURS:
            await_answer(server, body, log)
            parameters = asked.get("parameters")
        else:
            await_answer(server, start.dialect.body(model.records[:1]), log)
            parameters = None
        return check_open_inference(f"http://127.0.0.1:{port}", served, asked["inputs"], parameters=parameters)


def _ours(model: Model, place: Path, port: int) -> Start:
    mine = Ours(model, place / "home")
    mine.publish()
    return mine.start(port)


def _peer(name: str, model: Model, place: Path, port: int) -> Start:
    python = PEERS[name].python(name)
    PEERS[name].prepare(python, model, place)
    return PEERS[name].start(python, model, place, port)


if __name__ == "__main__":
    main()
