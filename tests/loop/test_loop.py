"""The loop on a real home: a version's whole way, a person's words, crashes half way, and a registry that is gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from afterfit.errors import InputError, LifecycleError, StoreError, UnknownNameError
from afterfit.lifecycle import Command, Happening, Phase
from afterfit.loop import Loop
from afterfit.loop.acting import Actor
from afterfit.loop.book import Book
from afterfit.loop.status import doctor, status
from afterfit.records import Role
from tests.world import Moody, World, frame

TRAIN = """
from sklearn.linear_model import LogisticRegression


def fit(X, y, sample_weight=None):
    return LogisticRegression().fit(X, y)


def broken(X, y, sample_weight=None):
    raise ValueError("no luck today")


def nonsense(X, y, sample_weight=None):
    return 42
"""


def play(world: World, hours: int, *, flip: bool = False, per_hour: int = 40, seed: int = 0) -> None:
    """Rows and their outcomes through the gateway, an hour of event time a step; `flip` turns the truth around."""
    rng = np.random.default_rng(seed)
    for hour in range(hours):
        X, y = frame(per_hour, int(rng.integers(1 << 30)))
        at = world.now + timedelta(hours=hour)
        ids = [f"{at:%m%d%H}-{seed}-{i}" for i in range(per_hour)]
        rows = [{"a": float(a), "b": int(b)} for a, b in zip(X["a"], X["b"], strict=True)]
        assert world.predict(rows, id=ids, time=at.isoformat()).status_code == 200
        known = (at + timedelta(minutes=30)).isoformat()
        items = [
            {"prediction_id": id, "value": int(v) ^ flip, "event_time": known, "known_time": known}
            for id, v in zip(ids, y, strict=True)
        ]
        assert {r["status"] for r in world.outcomes(items).json()["results"]} == {"stored"}


def test_a_candidate_goes_all_the_way(world: World) -> None:
    world.live(LogisticRegression())
    world.start(clock="request")
    play(world, 24)
    world.tick(24)
    world.register(LogisticRegression(), seed=9)
    world.say(Happening.DEPLOYED, version=2, why="a second opinion")
    phases = [world.loop.book("m").state.phase]
    for step in range(16):
        world.tick()
        world.settled()
        play(world, 6, seed=step + 1)
        world.tick(6)
        world.settled()
        phases.append(world.loop.book("m").state.phase)
        if world.loop.book("m").state.champion == 2:
            break
    book = world.loop.book("m")
    assert book.state.champion == 2, [(e.name, e.data) for e in book.entries[-4:]]
    assert book.state.history == (1,)
    names = [e.name for e in book.entries if e.kind == "event"]
    assert names[2:] == [
        "deployed", "gate_passed", "shadow_passed", "step_passed", "last_step_passed", "confirmed"
    ]  # fmt: skip
    assert all(
        e.data["verdict"]["outlook"] == "pass" for e in book.entries if e.name in names[3:] and e.kind == "event"
    )
    assert world.home.registry.champion("m") == 2
    routes = world.home.board.current().models["m"]
    assert {(t.version, t.role) for t in routes.targets} == {(2, Role.CHAMPION), (1, Role.STANDBY)}
    assert world.home.store.verify() == []
    report = status(world.loop, world.now)
    assert report["models"]["m"]["champion"] == 2
    assert Book(world.home.store, "m").state == book.state


def test_retraining_trains_and_a_bad_train_function_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "mytrain.py").write_text(TRAIN, encoding="utf-8")
    world = World(tmp_path, {"train": "mytrain:fit", "retrain": {"holdout": "6h", "min_rows": 100}})
    try:
        world.live(LogisticRegression())
        world.start(clock="request")
        play(world, 30)
        world.tick(36)
        for function, said in (("broken", "no luck today"), ("nonsense", "returned"), ("missing", "no function")):
            _use(world, function)
            world.say(Happening.RETRAIN_STARTED, why="test")
            world.tick()
            failed = world.loop.book("m").last("train_failed")
            assert failed is not None
            assert said in failed.data["why"]
            assert world.loop.book("m").state.champion == 1
            assert world.loop.book("m").state.phase is Phase.SERVING
        _use(world, "fit")
        world.say(Happening.RETRAIN_STARTED, why="test")
        world.tick()
        assert world.loop.book("m").last("trained") is not None, [e.data for e in world.loop.book("m").entries[-3:]]
        version = world.home.store.version("m", 2)
        assert version.origin == "retrain"
        assert version.metrics["holdout_n"] >= 40
        assert world.loop.book("m").last("gate_passed", "gate_failed") is not None
    finally:
        world.close()


def test_a_person_may_halt_resume_promote_and_roll_back(world: World) -> None:
    world.live()
    world.register(seed=4)
    world.say(Happening.HALTED, why="holiday")
    with pytest.raises(LifecycleError, match="possible now: resumed, promoted, rollback_asked"):
        world.say(Happening.DEPLOYED, version=2)
    world.say(Happening.RESUMED)
    world.say(Happening.PROMOTED, version=2)
    assert world.loop.book("m").state.champion == 2
    with pytest.raises(LifecycleError, match="champion already"):
        world.say(Happening.PROMOTED, version=2)
    world.say(Happening.ROLLBACK_ASKED)
    world.tick()
    state = world.loop.book("m").state
    assert (state.champion, state.phase) == (1, Phase.SERVING)
    with pytest.raises(UnknownNameError, match="known: '1', '2'"):
        world.say(Happening.DEPLOYED, version=7)
    with pytest.raises(UnknownNameError, match="unknown model 'mm'"):
        world.loop.say("mm", Happening.HALTED, {}, actor="test", now=world.now)


def test_a_first_version_without_a_hold_out_does_not_go_live(world: World) -> None:
    import afterfit as af

    X, y = frame(200)
    af.register("m", Moody().fit(X, y), X, y, config=world.config)
    world.tick()
    world.tick()
    book = world.loop.book("m")
    failed = book.last("gate_failed")
    assert book.state.champion is None
    assert failed is not None
    assert failed.data["verdict"]["outlook"] == "no_data"
    assert failed.data["why"]
    assert status(world.loop, world.now)["models"]["m"]["last_event"].endswith(f": {failed.data['why']}")
    world.say(Happening.PROMOTED, version=1, why="I answer for it")
    assert world.loop.book("m").state.champion == 1


def test_other_features_can_not_be_promoted(world: World) -> None:
    import afterfit as af

    world.live()
    X, y = frame(200)
    X = X.rename(columns={"b": "c"})
    af.register("m", Moody().fit(X, y), X, y, config=world.config)
    with pytest.raises(InputError, match=r"missing \['b'\], extra \['c'\]"):
        world.say(Happening.PROMOTED, version=2)


@pytest.mark.parametrize("crash_at", [Command.PUBLISH, Command.MIRROR, Command.NOTIFY])
def test_a_crash_between_event_and_command_is_made_up_for(
    world: World, monkeypatch: pytest.MonkeyPatch, crash_at: Command
) -> None:
    world.live()
    world.register(seed=4)
    honest = Actor.carry_out

    def crash(self: Actor, book: Book, entry: Any, command: Command, now: Any) -> bool:
        if command is crash_at:
            raise KeyboardInterrupt
        return honest(self, book, entry, command, now)

    monkeypatch.setattr(Actor, "carry_out", crash)
    with pytest.raises(KeyboardInterrupt):
        world.say(Happening.PROMOTED, version=2)
    monkeypatch.setattr(Actor, "carry_out", honest)
    world.loop = Loop(world.home)  # a new process
    assert world.loop.book("m").pending
    world.tick()
    book = world.loop.book("m")
    assert not book.pending
    assert book.state.champion == 2
    assert world.home.registry.champion("m") == 2
    assert world.home.board.current().models["m"].targets[0].version == 2


def test_every_command_may_be_carried_out_twice(world: World) -> None:
    world.live()
    world.register(seed=4)
    world.say(Happening.PROMOTED, version=2)
    book = world.loop.book("m")
    before = (world.home.board.current(), world.home.registry.champion("m"), book.state, len(book.entries))
    entry = book.last("promoted")
    assert entry is not None
    for command in Command:
        if command is not Command.TRAIN:  # starting the same job again is tested with the jobs
            assert world.loop.actor.carry_out(book, entry, command, world.now)
            book.done(entry.id, command, at=world.now)
    after = (world.home.board.current(), world.home.registry.champion("m"), book.state)
    assert (after[0].number, after[0].models, after[1], after[2]) == (before[0].number, before[0].models, *before[1:3])


def test_an_alias_moved_outside_is_noticed_recorded_and_put_back(world: World) -> None:
    world.live()
    world.register(seed=4)
    world.home.registry.set_champion("m", 2)
    world.loop = Loop(world.home)
    world.tick()
    noticed = world.loop.book("m").last("alias_changed_outside")
    assert noticed is not None
    assert noticed.data == {"found": 2, "restored": 1}
    assert world.home.registry.champion("m") == 1


def test_the_loop_goes_on_without_its_registry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.live()
    world.register(seed=4)

    def gone(*_: object) -> None:
        raise StoreError("MLflow can't be reached")

    monkeypatch.setattr(type(world.home.registry), "set_champion", gone)
    monkeypatch.setattr(type(world.home.registry), "champion", gone)
    world.say(Happening.PROMOTED, version=2)
    world.tick()
    book = world.loop.book("m")
    assert book.state.champion == 2
    assert world.home.board.current().models["m"].targets[0].version == 2
    assert len([e for e in book.entries if e.name == "registry_unreachable"]) == 1
    monkeypatch.undo()
    world.tick()
    assert world.home.registry.champion("m") == 2


def test_two_loops_do_not_overtake_each_other(world: World) -> None:
    world.live()
    world.register(seed=4)
    other = Loop(world.home)
    other.book("m")
    world.say(Happening.HALTED)
    with pytest.raises(LifecycleError, match="halted"):
        other.say("m", Happening.DEPLOYED, {"version": 2}, actor="test", now=world.now)
    assert other.book("m").state == world.loop.book("m").state


def test_the_doctor_sees_a_changed_past(world: World) -> None:
    world.live()
    assert doctor(world.config)[0] == []
    import sqlite3

    with sqlite3.connect(world.config.home / "control.db") as db:
        db.execute("UPDATE ledger SET actor = 'nobody' WHERE number = 2")
    db.close()
    problems, _ = doctor(world.config)
    assert len(problems) >= 1
    assert "2" in problems[0]


def _use(world: World, function: str) -> None:
    """Point `train` to another function."""
    from dataclasses import replace

    model = replace(world.config.models["m"], train=f"mytrain:{function}")
    config = replace(world.home.config, models={"m": model})
    world.home = replace(world.home, config=config)
    world.loop.home = world.home
