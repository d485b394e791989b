"""The recorder: a service of one's own logs and is monitored, in threads, on event loops, in forked and killed processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import afterfit as af
from afterfit.adapters.delta_lake import DeltaLake
from afterfit.config import Config
from afterfit.errors import DuplicateError, InputError, SetupError, UnknownNameError
from afterfit.records import Window
from tests.world import World, frame

EVER = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
ROW = {"a": 0.5, "b": 1}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one registered version, and nothing else."""
    home = tmp_path_factory.mktemp("registered") / ".afterfit"
    X, y = frame(200)
    af.register("m", LogisticRegression().fit(X, y), X, y, config=Config(home=home, root=home.parent))
    return home


@pytest.fixture
def home(registered: Path, tmp_path: Path) -> Path:
    """The same version in a home of the test's own."""
    own = tmp_path / ".afterfit"
    own.mkdir()
    (own / "models").symlink_to(registered / "models")
    return own


def logged(home: Path) -> pd.DataFrame:
    lake = DeltaLake(home / "lake")
    lake.drain(home / "journal")
    table: pd.DataFrame = lake.labelled("m", EVER).to_pandas()
    return table


def test_a_row_is_in_the_lake_as_it_was_logged_and_joins_its_outcome(home: Path) -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with af.Recorder("m", home) as rec:
        id = rec.log({"a": np.float64(0.25), "b": np.int64(3)}, np.int64(1), scores=0.75, key="k", time=at)
        assert rec.outcome(id, 0, event_time=at) == "stored"
        assert rec.outcome(id, 0, event_time=at.isoformat()) == "duplicate"
        assert rec.outcome("nobody", 0) == "waiting"
        assert rec.outcome(None, 1, key="k", time=at, kind="correction") == "stored"
    (row,) = logged(home).to_dict("records")
    assert (row["prediction_id"], row["version"], row["role"], row["key"]) == (id, 1, "champion", "k")
    assert (json.loads(row["features"]), row["prediction"]) == ({"a": 0.25, "b": 3}, "1")
    assert row["scores"].tolist() == [0.25, 0.75]
    assert (row["time"], row["outcome"]) == (at, "1")


def test_no_key_no_id_no_time(home: Path) -> None:
    before = datetime.now(UTC)
    with af.Recorder("m", home) as rec:
        id = rec.log(ROW, 1)
    (row,) = logged(home).to_dict("records")
    assert row["key"] == id
    assert before <= row["time"] <= datetime.now(UTC)
    assert row["scores"] is None


def test_a_frame_is_logged_row_by_row(home: Path) -> None:
    X = pd.DataFrame({"a": [0.1, None, 0.3], "b": [1, 2, 3]})
    with af.Recorder("m", home) as rec:
        ids = rec.log_many(X, np.array([0, 1, 0]), scores=np.array([0.1, 0.9, 0.2]), keys=["x", "y", "z"])
        ids += rec.log_many([ROW, ROW], [1, 1], ids=["i", "j"], times=["2026-03-01T00:00:00Z", 1772323200.0])
    rows = logged(home).set_index("prediction_id").loc[ids]
    assert [json.loads(f) for f in rows["features"]][:3] == [
        {"a": 0.1, "b": 1},
        {"a": None, "b": 2},
        {"a": 0.3, "b": 3},
    ]
    assert rows["key"].tolist() == ["x", "y", "z", "i", "j"]
    assert rows["scores"].iloc[1].tolist() == [pytest.approx(0.1), 0.9]
    assert rows["time"].iloc[3] == rows["time"].iloc[4] == datetime(2026, 3, 1, tzinfo=UTC)


def test_many_rows_take_several_commits(home: Path) -> None:
    with af.Recorder("m", home) as rec:
        ids = rec.log_many(pd.DataFrame({"a": np.arange(12_000.0), "b": 1}), np.zeros(12_000, dtype=int))
    assert len(set(ids)) == 12_000
    assert sorted(logged(home)["prediction_id"]) == sorted(ids)


def test_what_is_no_feature_is_not_logged_and_told_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with af.Recorder("m", home) as rec, caplog.at_level(logging.WARNING, "afterfit.recorder"):
        rec.log({**ROW, "password": "secret"}, 1)
        rec.log({"a": 1.0, "password": "secret"}, 1)
    assert [json.loads(f) for f in logged(home)["features"]] == [ROW, {"a": 1.0}]
    assert [r.getMessage().partition(" are ")[0] for r in caplog.records] == ["['password']"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"features": [1]}, "wanted a mapping"),
        ({"features": {"a": object()}}, "feature 'a'.*found object"),
        ({"features": {"b": 2**70}}, "feature 'b'.*64 bits"),
        ({"prediction": [1]}, "prediction: wanted text"),
        ({"scores": [0.1, 0.2, 0.7]}, r"each class of \[0, 1\].*found 3"),
        ({"scores": "much"}, "scores: wanted numbers"),
        ({"time": datetime(2026, 1, 1)}, "has no timezone"),
        ({"time": "soon"}, "is no time"),
        ({"id": ""}, "id: wanted text"),
        ({"key": 5}, "key: wanted text"),
    ],
)
def test_what_can_never_be_logged_is_an_error_that_says_what_was_wanted(
    home: Path, wrong: dict[str, Any], words: str
) -> None:
    with af.Recorder("m", home) as rec:
        with pytest.raises(InputError, match=words):
            rec.log(**{"features": ROW, "prediction": 1, **wrong})
        with pytest.raises(InputError, match=r"wanted one of \[0, 1\]"):
            rec.outcome("a", 7)
        with pytest.raises(InputError, match="keys: wanted one for each of 2 rows, found 1"):
            rec.log_many([ROW, ROW], [1, 1], keys=["a"])


def test_a_regression_has_no_scores(tmp_path: Path) -> None:
    home, X = tmp_path / ".afterfit", pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    af.register("m", LinearRegression().fit(X, [1, 2, 3]), X, [1, 2, 3], config=Config(home=home, root=tmp_path))
    with af.Recorder("m", home) as rec:
        id = rec.log({"a": 1.5}, 1.5)
        assert rec.outcome(id, 1.25) == "stored"
        with pytest.raises(InputError, match="is a regression, which has none"):
            rec.log({"a": 1.5}, 1.5, scores=0.5)


def test_an_id_is_logged_once(home: Path) -> None:
    with af.Recorder("m", home) as rec:
        rec.log(ROW, 1, id="a")
        with pytest.raises(DuplicateError):
            rec.log(ROW, 1, id="a")
    assert len(logged(home)) == 1


def test_a_wrong_name_version_or_home_is_told_at_the_start(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'n'.*m"):
        af.Recorder("n", home)
    with pytest.raises(UnknownNameError, match="version of m"):
        af.Recorder("m", home, version=9)
    with pytest.raises(SetupError, match="there is no home"):
        af.Recorder("m", tmp_path / "elsewhere")


def test_the_settings_beside_the_home_hold(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "afterfit.toml").write_text('durability = "async"\n', encoding="utf-8")
    monkeypatch.chdir(home.parent)
    for rec in (af.Recorder("m"), af.Recorder("m", home)):
        assert (rec.home, rec._durability) == (home.resolve(), "async")


def test_threads_and_event_loops_at_once(home: Path) -> None:
    rec = af.Recorder("m", home)
    ids: list[str] = []

    def thread() -> None:
        ids.extend(rec.log(ROW, 1) for _ in range(100))

    async def request() -> str:
        id = await rec.log_async(ROW, 1, key="k")
        assert await rec.outcome_async(id, 1) == "stored"
        return id

    async def service() -> None:
        ids.extend(await asyncio.gather(*(request() for _ in range(100))))

    threads = [threading.Thread(target=thread) for _ in range(4)]
    threads += [threading.Thread(target=lambda: asyncio.run(service())) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    rec.close()
    table = logged(home)
    assert len(ids) == len(set(ids)) == 600
    assert sorted(table["prediction_id"]) == sorted(ids)
    assert table["outcome"].notna().sum() == 200


def test_the_event_loop_goes_on_while_the_disk_is_slow(home: Path) -> None:
    """Another process holds the file's write lock: the row waits, and other coroutines have their turns."""
    import sqlite3

    async def service() -> int:
        rec = af.Recorder("m", home)
        await rec.log_async(ROW, 1)
        blocker = sqlite3.connect(home / "journal" / "recorder-m.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        waiting, turns = asyncio.create_task(rec.log_async(ROW, 1)), 0
        for _ in range(20):
            await asyncio.sleep(0.01)
            turns += not waiting.done()
        blocker.execute("ROLLBACK")
        blocker.close()
        await waiting
        rec.close()
        return turns

    assert asyncio.run(service()) == 20
    assert len(logged(home)) == 2


def test_a_journal_that_takes_nothing_costs_rows_and_no_request(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    rec = af.Recorder("m", home)
    kept = rec.log(ROW, 1)
    assert rec._journal is not None
    rec._journal._max_pending, rec._journal._pending = 0, 1  # as if the disk were far behind
    lost = [rec.log(ROW, 1), asyncio.run(rec.log_async(ROW, 1)), *rec.log_many([ROW] * 3, [1] * 3)]
    assert (len(set(lost)), rec.lost) == (5, 5)
    assert len([r for r in caplog.records if "are not logged" in r.getMessage()]) == 1
    rec._journal._max_pending, rec._journal._pending = 100, 0
    after = rec.log(ROW, 1)
    rec.close()
    assert sorted(logged(home)["prediction_id"]) == sorted([kept, after])
    assert DeltaLake(home / "lake").lost("m", EVER) == 5


_SERVICE = """
import os, sys
from pathlib import Path
import afterfit as af
rec, name, n = af.Recorder("m", Path(sys.argv[1])), sys.argv[2], 0
while True:
    id = rec.log({"a": 0.5, "b": 1}, 1, id=f"{name}-{n}")
    n += 1
    os.write(1, (id + "\\n").encode())
"""


def test_processes_side_by_side_that_are_killed_lose_nothing_they_told(home: Path) -> None:
    told: list[str] = []
    dice = random.Random(7)
    for life in range(4):
        command = [sys.executable, "-c", _SERVICE, str(home)]
        running = [subprocess.Popen([*command, f"{life}.{n}"], stdout=subprocess.PIPE) for n in range(2)]
        for process in running:
            assert process.stdout is not None
            told.append(process.stdout.readline().decode().strip())  # it is under way
        time.sleep(dice.uniform(0.0, 0.3))
        for process in running:
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            told += [line for line in process.stdout.read().decode().splitlines(keepends=True) if line.endswith("\n")]
            process.stdout.close()
            process.wait()
    found = Counter(logged(home)["prediction_id"])
    assert len(told) > 50
    assert [id for id in map(str.strip, told) if found[id] != 1] == []


_FORKING = """
import os, sys, threading
from pathlib import Path
import afterfit as af

home = Path(sys.argv[1])
rec = af.Recorder("m", home)
rec.log({"a": 0.5, "b": 1}, 1, id="before")
stop = threading.Event()

def busy():
    n = 0
    while not stop.is_set():
        rec.log({"a": 0.5, "b": 1}, 1, id=f"parent-{n}")
        n += 1

threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for child in range(12):
    pid = os.fork()
    if pid == 0:
        for n in range(20):
            rec.log({"a": 0.5, "b": 1}, 1, id=f"child-{child}-{n}")
        rec.outcome(f"child-{child}-0", 1)
        rec.close()
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set()
for thread in threads:
    thread.join()
rec.log({"a": 0.5, "b": 1}, 1, id="after")
rec.close()
print(codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_forked_children_of_a_process_that_is_logging(home: Path) -> None:
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", _FORKING, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str([0] * 12)), done.stderr
    found = Counter(logged(home)["prediction_id"])
    wanted = {"before", "after", *(f"child-{child}-{n}" for child in range(12) for n in range(20))}
    assert wanted <= found.keys()
    assert max(found.values()) == 1
    assert len(list((home / "journal").glob("*.db"))) <= 13


def test_what_a_service_recorded_is_monitored_like_what_a_gateway_served(world: World) -> None:
    """Three healthy days and one with another unit; no gateway runs, and nobody but the service answered."""
    began = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
    world.now = began  # rows are logged at the machine's time, so the test's world has it too
    version = world.live(LogisticRegression())
    model = LogisticRegression().fit(*frame(400))
    rec = af.Recorder("m", world.config.home)
    assert rec.version.version == version.version
    for day in range(4):
        X, y = frame(400, seed=10 + day)
        if day == 3:
            X["a"] = X["a"] * 40.0 + 300.0
        times = [began + timedelta(days=day, minutes=3 * i) for i in range(len(X))]
        ids = rec.log_many(X, model.predict(X), scores=model.predict_proba(X), times=times)
        for id, value, time_ in zip(ids, y, times, strict=True):
            rec.outcome(
                id, int(value), event_time=time_ + timedelta(minutes=5), known_time=time_ + timedelta(minutes=5)
            )
    rec.close()
    world.loop.tick(datetime.now(UTC))
    windows = world.home.store.windows("m", "drift")[:4]
    assert [(numbers["n"], numbers["completeness"]) for _, _, numbers in windows] == [(400.0, 1.0)] * 4
    (incident,) = [i for i in world.home.store.incidents("m") if "a" in i.columns]
    assert incident.kind in ("quality", "drift")
    mature = [numbers for _, _, numbers in world.home.store.windows("m", "performance")][:3]
    assert [numbers["labelled"] for numbers in mature] == [400.0] * 3
    assert all(numbers["loss"] < 0.3 for numbers in mature)
