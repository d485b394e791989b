"""The command line: parse, call, print. Exit codes: 0 done, 1 refused or failed with a reason, 2 wrong usage,
3 the machine is not ready (port, folder, damaged store)."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from afterfit import cli_tokens
from afterfit.cli_options import CONFIG, AsJson, ConfigFile, Why, config_of, out, print_json
from afterfit.config import Config
from afterfit.errors import AfterfitError, InputError, SetupError, StoreError

if TYPE_CHECKING:
    from afterfit.loop import Loop
    from afterfit.stats.audit import Blend
    from afterfit.stats.expected import Expected

_TOLD = (
    *("since", "lane", "counts", "on_the_way", "log", "outcome_delay", "performance", "estimates", "versions"),
    *("gateways", "degraded", "memory", "expected_memory", "last_event"),
)  # of a model, by `afterfit status`

app = typer.Typer(
    help="Everything that happens to a model after .fit().",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_tokens.app, name="tokens")


def main() -> None:
    """Entry point: a wrong input ends in one clear line, never in a traceback."""
    try:
        app()
    except (SetupError, StoreError) as error:
        _fail(error, 3)
    except AfterfitError as error:
        _fail(error, 1)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="where to write")] = Path()) -> None:
    """Write a small commented afterfit.toml and train.py for your own model."""
    from afterfit.templates import write

    for path in write(folder):
        out.print(f"wrote {path}")
    out.print("Next: put your data into train.py, run `python train.py`, then `afterfit up`.")


@app.command()
def up(config: ConfigFile = CONFIG) -> None:
    """Start gateway, controller and (with [ui]) MLflow's pages; Ctrl-C stops them."""
    from afterfit import supervisor

    raise typer.Exit(supervisor.up(config_of(config), config.resolve(), say=out.print))


@app.command()
def demo(
    trouble: Annotated[bool, typer.Option(help="inject the three troubles")] = True,
    seed: Annotated[int, typer.Option(help="moves the troubles and the sampling")] = 2013,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the whole story here")] = None,
    home: Annotated[Path, typer.Option(help="folder of the demo; emptied first")] = Config.home,
    until: Annotated[str, typer.Option(help="last day of the stream")] = "2013-12-31",
) -> None:
    """Watch a real model live through the flights of 2013 (extra [demo])."""
    from afterfit.demo.run import run

    run(trouble=trouble, seed=seed, json_file=json_file, folder=home, until=until, console=Console())


@app.command()
def status(config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """What is live, what is under way, what is wrong."""
    from afterfit.loop.status import status as read

    report = read(_loop(config), _now())
    if as_json:
        print_json(report)
        return
    if not report["models"]:
        out.print("no model yet: register one with af.register(...), or see `afterfit init`")
    for name, model in report["models"].items():
        out.print(f"[bold]{escape(name)}[/bold]  {escape(model['summary'])}")
        for key in _TOLD:
            if model[key]:
                out.print(f"  {key.replace('_', ' '):<15} {escape(_words(model[key]))}")
        for incident in model["incidents"]:
            out.print(f"  [red]incident[/red]        {escape(incident['severity'])}: {escape(incident['title'])}")
    for gateway in report["gateways"]:
        for what, why in gateway["problems"].items():
            out.print(f"[red]problem[/red] of {escape(gateway['gateway'])}: {escape(what)}: {escape(why)}")


@app.command()
def register(
    name: str,
    uri: Annotated[str, typer.Option(help="models:/NAME/VERSION in your MLflow")],
    reference: Annotated[Path, typer.Option(help="Parquet or CSV: features, and the target if you have it")],
    target: Annotated[str | None, typer.Option(help="the target's column in the reference")] = None,
    time: Annotated[str | None, typer.Option(help="the time column in the reference")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="your MLflow; default: the configured one")] = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Adopt a version that already lives in your own MLflow."""
    from afterfit.api import adopt

    version = adopt(name, uri, reference, target=target, time=time, tracking_uri=tracking_uri, config=config_of(config))
    out.print(f"{name} version {version.version} is under care, from {uri}")


@app.command()
def deploy(
    name: str,
    version: int,
    skip: Annotated[str, typer.Option(help='"gate,shadow" goes straight to the first canary step')] = "",
    why: Why = "",
    config: ConfigFile = CONFIG,
) -> None:
    """Send a version on its way: gate, shadow, canary, provisional, promoted."""
    from afterfit.lifecycle import Happening

    loop = _loop(config)
    if not skip:
        _say(loop, name, Happening.DEPLOYED, {"version": version, "why": why or "deployed by a person"})
        return
    if skip.replace(" ", "") != "gate,shadow":
        raise InputError(f'--skip {skip!r}: wanted "gate,shadow"; a candidate can skip both or none')
    if not why:
        raise InputError("skipping the gate is written on the ledger: say why with --why")
    shares = loop.config(name).rollout.canary if name in loop.models() else ()
    if not shares:
        raise InputError(f"{name} has no canary steps configured; use `afterfit promote`")
    _say(loop, name, Happening.FAST_TRACKED, {"version": version, "weight": shares[0], "why": why})


@app.command()
def promote(name: str, version: int, why: Why = "", config: ConfigFile = CONFIG) -> None:
    """Make a version champion now, on your word."""
    from afterfit.lifecycle import Happening

    _say(_loop(config), name, Happening.PROMOTED, {"version": version, "why": why or "promoted by a person"})


@app.command()
def rollback(name: str, why: Why = "", config: ConfigFile = CONFIG) -> None:
    """Drop the candidate, or go back to the champion before."""
    from afterfit.lifecycle import Happening

    _say(_loop(config), name, Happening.ROLLBACK_ASKED, {"why": why or "asked by a person"})


@app.command()
def halt(name: str, why: Why = "", config: ConfigFile = CONFIG) -> None:
    """Stop every automatic change; the champion gets all traffic."""
    from afterfit.lifecycle import Happening

    _say(_loop(config), name, Happening.HALTED, {"why": why or "halted by a person"})


@app.command()
def resume(name: str, why: Why = "", config: ConfigFile = CONFIG) -> None:
    """Allow automatic change again."""
    from afterfit.lifecycle import Happening

    _say(_loop(config), name, Happening.RESUMED, {"why": why or "resumed by a person"})


@app.command()
def approve(name: str, why: Why = "", config: ConfigFile = CONFIG) -> None:
    """Let the candidate go to everyone once its evidence is there (approval = true)."""
    from afterfit.lifecycle import Happening

    _say(_loop(config), name, Happening.APPROVED, {"why": why or "approved by a person"})


@app.command()
def train(name: str, why: Why = "", config: ConfigFile = CONFIG) -> None:
    """Start a retraining now; the controller takes it from there."""
    from afterfit.lifecycle import Happening

    _say(_loop(config), name, Happening.RETRAIN_STARTED, {"why": why or "asked by a person"})


@app.command()
def why(name: str, config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """Which version is live and why, trained how, on what, how good, since when."""
    from afterfit.tracking.answers import why as answer

    loop = _loop(config)
    book = _known(loop, name)
    found = answer(book.entries, loop.home.store.versions(name))
    print_json(found.to_dict()) if as_json else out.print(escape(found.text))


@app.command("who-was-live")
def who_was_live(
    name: str,
    at: Annotated[str, typer.Option("--at", help="a day or moment, such as 2013-07-15 or 2013-07-15T12:00Z")],
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Which version answered at a moment of the past, and everything about it."""
    from afterfit.tracking.answers import who_was_live as answer

    loop = _loop(config)
    book = _known(loop, name)
    found = answer(book.entries, loop.home.store.versions(name), _moment(at))
    print_json(found.to_dict()) if as_json else out.print(escape(found.text))


@app.command()
def incidents(
    name: Annotated[str | None, typer.Argument(help="one model; default: all")] = None,
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """What the monitor found, newest first."""
    import msgspec

    loop = _loop(config)
    if name is not None:
        _known(loop, name)
    found = sorted(loop.home.store.incidents(name), key=lambda i: i.opened_at, reverse=True)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    table = Table("opened", "closed", "model", "severity", "what")
    for i in found:
        closed = f"{i.closed_at:%Y-%m-%d}" if i.closed_at else "open"
        table.add_row(f"{i.opened_at:%Y-%m-%d}", closed, escape(i.model), i.severity.value, escape(i.title))
    out.print(table if found else "no incident so far")


@app.command()
def monitor(
    name: str,
    html: Annotated[Path | None, typer.Option(help="write a page that shows it here")] = None,
    power: Annotated[bool, typer.Option("--power", help="what would be found, and how soon, instead")] = False,
    why: Annotated[bool, typer.Option("--cause", help="why the newest answers are better or worse, instead")] = False,
    config: ConfigFile = CONFIG,
    as_json: AsJson = False,
) -> None:
    """What the monitor saw in the newest window, and how it came about. Exit code 4: something drifted."""
    from afterfit.loop.view import newest, said
    from afterfit.monitoring.importance_table import terminal_table

    if (html is not None) + power + why > 1:
        raise InputError(
            "--html draws the newest window, --power tells what would be found, --cause why answers got worse: "
            "ask for one of them"
        )
    loop = _loop(config)
    _known(loop, name)
    if power:
        _power(loop, name, as_json)
        return
    if why:
        found = loop.cause(name, _now())
        print_json(found.to_dict()) if as_json else out.print(escape(str(found)))
        return
    view = newest(loop, name)
    title = f"{name}, version {view.version}: {view.window.start:%Y-%m-%d %H:%M} to {view.window.end:%Y-%m-%d %H:%M}"
    if html is not None:
        view.report.to_html(html, title=title, made_at=_now(), timeline=view.timeline)
    if as_json:
        print_json(view.to_dict())
    else:
        out.print(escape(title))
        out.print(escape(str(view.report)))
        if view.report.weighed:
            out.print(terminal_table(view.report.weighed))
        for one in view.losses[-7:]:
            out.print(escape(said(one)))
    raise typer.Exit(4 if view.report.drifted else 0)


@app.command()
def history(name: str, config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """The ledger of a model, oldest first."""
    import msgspec

    from afterfit.controller import line

    entries = [e for e in _known(_loop(config), name).entries if e.kind != "done"]
    if as_json:
        print_json(msgspec.to_builtins(entries))
        return
    for entry in entries:
        out.print(escape(line(entry)))


@app.command()
def compare(
    reference: str,
    current: str,
    budget: Annotated[float, typer.Option(help="chance of any false alarm in this comparison")] = 0.01,
    segment_by: Annotated[
        list[str] | None, typer.Option(help="column by whose values rows are judged too; may be repeated")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write a page that shows it here")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two data sets (Parquet or CSV; a folder or a pattern, quoted) column by column. Exit code 4: drift."""
    from afterfit.api import compare as run

    report = run(reference, current, budget=budget, segment_by=segment_by)
    if html is not None:
        report.to_html(html, title=f"{reference} → {current}", made_at=_now())
    if as_json:
        print_json(report.to_dict())
    else:
        out.print(escape(str(report)))
    raise typer.Exit(4 if report.drifted else 0)


@app.command()
def estimate(
    reference: str,
    current: str,
    target: Annotated[str, typer.Option(help="column of the outcome; in the current data it may be missing, or null")],
    scores: Annotated[
        list[str] | None,
        typer.Option(help="column of the positive class's probability, or LABEL=COLUMN for each class"),
    ] = None,
    prediction: Annotated[str | None, typer.Option(help="column of the answers")] = None,
    metric: Annotated[str | None, typer.Option(help="default: roc_auc, or mae for a regression")] = None,
    as_json: AsJson = False,
) -> None:
    """Performance before outcomes are known, with intervals; blind to concept drift, until some outcomes are known."""
    from afterfit.api import estimate as run

    found = run(reference, current, target=target, scores=_columns(scores), prediction=prediction, metric=metric)
    if as_json:
        print_json(found.to_dict())
        return
    for name, one in found.metrics.items():
        line = f"{name:<18} {_interval(one)}"
        out.print(f"[bold]{line}[/bold]" if name == found.metric else line)
    out.print(f"{found.rows:,} rows, {found.unusable:,} unusable; {found.assumption}")
    if found.blended:
        name = found.metric if found.metric in found.blended else next(iter(found.blended))
        said = f"{name} with {found.known:,} known outcomes: {_interval(found.blended[name])}"
        out.print(f"{said}; for the population, if those rows are a random part")


@app.command()
def cause(
    reference: str,
    current: str,
    target: Annotated[str, typer.Option(help="column of the outcome in both")],
    scores: Annotated[
        list[str] | None,
        typer.Option(help="column of the positive class's probability, or LABEL=COLUMN for each class"),
    ] = None,
    prediction: Annotated[str | None, typer.Option(help="column of a regression's answers")] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="a column that the model sees; default: all others")
    ] = None,
    seed: Annotated[int, typer.Option(help="of folds, trees and draws")] = 0,
    as_json: AsJson = False,
) -> None:
    """Why a model got worse between two data sets with outcomes: broken feed, other rows, other outcomes, or concept."""
    from afterfit.causes import cause as run

    found = run(
        reference, current, target=target, scores=_columns(scores), prediction=prediction, features=features, seed=seed
    )
    print_json(found.to_dict()) if as_json else out.print(escape(str(found)))


@app.command()
def doctor(config: ConfigFile = CONFIG, as_json: AsJson = False) -> None:
    """Check the configuration, the stores and the chain of the ledger."""
    from afterfit.loop.status import doctor as examine

    settings = config_of(config)
    problems, facts = examine(settings)
    if as_json:
        print_json({"problems": problems, "facts": facts})
    else:
        for key, value in facts.items():
            out.print(f"{key:<28} {escape(str(value))}")
        for problem in problems:
            out.print(f"[red]problem[/red] {escape(problem)}")
        out.print("all is well" if not problems else f"{len(problems)} problem(s)")
    raise typer.Exit(3 if problems else 0)


def _columns(scores: list[str] | None) -> str | dict[str, str] | None:
    """One column of scores, or {label: column}."""
    named = dict(s.split("=", 1) for s in scores or () if "=" in s)
    if scores and len(named or scores[:1]) != len(scores):
        raise InputError(f"--scores {scores}: wanted one column, or LABEL=COLUMN for every class")
    return named or (scores[0] if scores else None)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{what} {n:,}" for what, n in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _interval(one: Expected | Blend) -> str:
    return one.reason if one.value is None else f"{one.value:.4f}  ({one.low:.4f} to {one.high:.4f})"


def _power(loop: Loop, name: str, as_json: bool) -> None:
    from afterfit.loop.power import power_of
    from afterfit.monitoring.power_table import tables, words

    with Console(stderr=True).status("reading the newest windows") as progress:
        found = power_of(loop, name, tell=lambda done, of: progress.update(f"{done} of {of} features are tried"))
    if as_json:
        print_json(found.to_dict())
        return
    config = loop.config(name)
    many = "" if config.budget == 1 else "s"
    for line in words(found, f"{config.budget:g} false incident{many} per {config.budget_period / 86400:g} d"):
        out.print(escape(line), soft_wrap=False)
    for table in tables(found):
        out.print(table)


def _loop(path: Path) -> Loop:
    from afterfit.home import Home
    from afterfit.loop import Loop

    return Loop(Home.open(config_of(path)))


def _known(loop: Loop, name: str) -> Any:
    from afterfit.errors import UnknownNameError

    if name not in loop.models():
        raise UnknownNameError("model", name, loop.models())
    return loop.book(name)


def _say(loop: Loop, name: str, happening: Any, data: Mapping[str, Any]) -> None:
    from afterfit.loop.conductor import describe

    entry = loop.say(name, happening, data, actor=f"person:{getpass.getuser()}", now=_now())
    book = loop.book(name)
    short = book.last("memory_short")
    if short is not None and short.number > entry.number:
        out.print(f"[yellow]warning:[/yellow] {escape(short.data['title'])}")
    out.print(f"{escape(name)} is {escape(describe(book.state))}")


def _now() -> datetime:
    return datetime.now(UTC)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"--at {text!r}: wanted a day or moment such as 2013-07-15 or 2013-07-15T12:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fail(error: AfterfitError, code: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}")
    sys.exit(code)


if __name__ == "__main__":
    main()
