"""A graph in the gateway's own process: the same answers through a real gateway, no pickle, nothing that was tampered with."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from afterfit.adapters.lane import GRAPH, RECORD, read_lane
from afterfit.adapters.lane_trial import choose
from afterfit.adapters.model_folder import Scorer, folder_sha256
from afterfit.adapters.turns import YIELDING
from afterfit.errors import WorkerError
from afterfit.gateway import local
from afterfit.gateway.fleet import Fleet
from afterfit.gateway.local import Local
from afterfit.gateway.signature import Columns
from afterfit.gateway.workers import CrashError, Worker
from afterfit.records import ModelVersion, Role, Task
from afterfit.tracking.golden import as_rows
from tests.gateway.kit import routes, target, trained, with_fleet
from tests.gateway.test_app import Room, in_room

BOTH: Columns = {"x": [0.3, None], "c": ["JFK", "nowhere"]}


def frame(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    X = pd.DataFrame({"x": rng.normal(size=n), "c": rng.choice(["JFK", "LGA", "EWR"], n)})
    X.loc[::7, "x"] = np.nan
    return X


def fitted(X: pd.DataFrame, seed: int = 0) -> Any:
    y = ((X["x"].fillna(0) + (X["c"] == "JFK")) > 0.3).astype(int) ^ (np.arange(len(X)) % 11 == seed)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, ["c"]), remainder="passthrough")
    return make_pipeline(columns, HistGradientBoostingClassifier(max_iter=15, random_state=0)).fit(X, y)


def with_graph(home: Path, number: int = 1) -> ModelVersion:
    """A version's folder as registration leaves it, with its lane chosen and tried."""
    X = frame()
    model = fitted(X, seed=number)
    version = trained(home, model, X, None, task=Task.BINARY, number=number)
    return put_graph(version, model, X)


def put_graph(version: ModelVersion, model: Any, X: pd.DataFrame) -> ModelVersion:
    record, graph = choose(model, version, X)
    assert graph is not None
    folder = Path(version.folder) / "model"
    (folder / RECORD).write_bytes(msgspec.json.encode(record))
    (folder / GRAPH).write_bytes(graph)
    version = replace(version, model_sha256=folder_sha256(folder))
    (Path(version.folder) / "version.json").write_bytes(msgspec.json.encode(version))
    return version


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return with_graph(tmp_path_factory.mktemp("local"))


def with_local(version: ModelVersion, act: Callable[[Local], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        one = Local("m/1", target(version))
        try:
            await one.settled()
            await act(one)
        finally:
            await one.stop()

    asyncio.run(run())


def test_it_answers_as_the_worker_does(version: ModelVersion, tmp_path: Path) -> None:
    async def act(one: Local) -> None:
        worker = Worker("m/1", target(version), tmp_path / "worker.log")
        try:
            await worker.settled()
            X = frame(700)
            columns: Columns = {"x": [None if np.isnan(v) else v for v in X["x"].tolist()], "c": X["c"].tolist()}
            one_row: Columns = {"x": [1], "c": ["LGA"]}
            for asked in (columns, BOTH, one_row):
                here, there = await one.predict(asked, 5.0), await worker.predict(asked, 5.0)
                assert here[0] == there[0]
                assert here[1] is not None
                assert there[1] is not None
                np.testing.assert_allclose(here[1], there[1], rtol=0, atol=1e-15)
            assert (one.now(BOTH, 2), one.now(columns, 700)) == (await one.predict(BOTH, 1.0), None)
        finally:
            await worker.stop()

    with_local(version, act)


def test_a_gateway_answers_by_the_graph_as_by_the_model(version: ModelVersion, tmp_path: Path) -> None:
    rows = as_rows(frame(40))
    wanted = Scorer(version).answer(Scorer(version).frame({k: [row[k] for row in rows] for k in ("x", "c")}))

    async def act(room: Room) -> None:
        whole = (await room.ask(*rows)).json()["predictions"]
        alone = [(await room.ask(row)).json()["predictions"][0] for row in rows]
        for found in (whole, alone):
            assert [p["prediction"] for p in found] == wanted[0]
            np.testing.assert_allclose([p["scores"] for p in found], wanted[1] or [], rtol=0, atol=1e-15)
        assert len(room.journal.rows) == 80
        (told,) = (await room.client.get("/v1/models/m")).json()["versions"]
        assert (told["lane"], told["lane_why"], told["pid"], told["problem"]) == ("onnx", None, None, None)

    in_room(tmp_path, routes(1, target(version)), act)


def test_no_pickle_is_read(version: ModelVersion, tmp_path: Path) -> None:
    """Its place is taken by rubbish, of which the hash is registered: the graph answers, and nobody opens it."""
    folder = tmp_path / "models" / "m" / "1"
    shutil.copytree(version.folder, folder)
    (folder / "model" / "model.pkl").write_bytes(b"not a pickle")
    moved = replace(version, folder=str(folder), model_sha256=folder_sha256(folder / "model"))

    async def act(one: Local) -> None:
        assert not one.problem
        assert (await one.predict(BOTH, 1.0))[0]

    with_local(moved, act)
    with pytest.raises(WorkerError):
        Scorer(moved)


@pytest.mark.parametrize("name", [GRAPH, RECORD, "model.pkl"])
def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path, name: str) -> None:
    version = with_graph(tmp_path)
    path = Path(version.folder) / "model" / name
    path.write_bytes(path.read_bytes() + b" ")

    async def act(one: Local) -> None:
        assert one.changed
        assert "is not what was registered" in one.complaint
        with pytest.raises(CrashError, match="not there"):
            await one.predict(BOTH, 1.0)

    async def nobody_answers(fleet: Fleet) -> None:
        """Nor does a worker load what the graph's hash covers; once it is mended, the graph answers."""
        assert not await fleet.apply(routes(1, target(version)))
        assert "is not what was registered" in fleet.problems()["m/1"]
        path.write_bytes(path.read_bytes()[:-1])
        assert await fleet.apply(routes(1, target(version)))
        assert fleet.lanes["m"].kinds[1] == ("onnx", "")

    with_local(version, act)
    with_fleet(tmp_path, nobody_answers)


def test_golden_rows_that_come_out_otherwise_send_it_to_a_worker(tmp_path: Path) -> None:
    """The graph of another model, rightly hashed: its golden rows tell, and the model itself answers from a process."""
    version, other = with_graph(tmp_path), with_graph(tmp_path, number=2)
    folder = Path(version.folder) / "model"
    (folder / GRAPH).write_bytes((Path(other.folder) / "model" / GRAPH).read_bytes())
    version = replace(version, model_sha256=folder_sha256(folder))

    async def act(fleet: Fleet) -> None:
        assert await fleet.apply(routes(1, target(version)))
        lane = fleet.lanes["m"]
        assert lane.kinds[1][0] == "python"
        assert "probe failed: golden row" in lane.kinds[1][1]
        assert lane.workers[1].pid is not None
        assert not fleet.problems()
        assert (await lane.workers[1].predict(BOTH, 5.0))[0]

    with_fleet(tmp_path, act)


def test_callers_are_answered_here_and_copies_are_scored_elsewhere(tmp_path: Path) -> None:
    versions = {n: with_graph(tmp_path, number=n) for n in (1, 2)}

    async def act(fleet: Fleet) -> None:
        champion = target(versions[1])
        assert await fleet.apply(routes(1, champion, target(versions[2], Role.SHADOW, 0.0)))
        lane = fleet.lanes["m"]
        assert isinstance(lane.workers[1], Local)
        assert lane.shadows.keys() == {2}
        assert lane.kinds[2] == ("onnx", "")
        scorer = lane.shadows[2]
        assert Path(f"/proc/{scorer.pid}/stat").read_text().rpartition(")")[2].split()[16] == str(YIELDING)
        assert scorer.pid is not None
        assert os.sched_getscheduler(scorer.pid) == os.SCHED_IDLE
        canary = replace(target(versions[2], Role.CANARY), weight=0.5)
        assert await fleet.apply(routes(2, replace(champion, weight=0.5), canary))
        lane = fleet.lanes["m"]
        assert {n: type(r) for n, r in lane.workers.items()} == {1: Local, 2: Local}
        assert lane.shadows[2] is scorer  # it was warm already
        assert lane.shadows[1].pid not in (None, scorer.pid)
        assert await fleet.apply(routes(3, target(versions[2]), target(versions[1], Role.STANDBY, 0.0)))
        lane = fleet.lanes["m"]
        assert {n: type(r) for n, r in lane.workers.items()} == {1: Local, 2: Local}
        assert fleet.ready()

    with_fleet(tmp_path, act)


def test_without_onnxruntime_a_worker_answers(
    version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "find_spec", lambda _name: None)
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not installed here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    async def act(fleet: Fleet) -> None:
        assert await fleet.apply(routes(1, target(version)))
        assert isinstance(fleet.lanes["m"].workers[1], Worker)
        lane, why = fleet.lanes["m"].kinds[1]
        assert lane == "python"
        assert "not installed here" in why

    with_fleet(tmp_path, act)


def test_a_large_batch_holds_nobody_up(version: ModelVersion) -> None:
    async def act(one: Local) -> None:
        n = 200_000
        large = asyncio.create_task(one.predict({"x": [0.5] * n, "c": ["JFK"] * n}, 30.0))
        while not one.busy:
            await asyncio.sleep(0)
        answered = 0
        while not large.done():
            await one.predict(BOTH, 1.0)
            answered += 1
            await asyncio.sleep(0)
        assert answered > 3
        assert len((await large)[0]) == n
        assert not one.busy
        with pytest.raises(WorkerError, match="timeout"):
            await one.predict({"x": [0.5] * n, "c": ["JFK"] * n}, 1e-6)

    with_local(version, act)


def test_a_stopped_one_says_so(version: ModelVersion) -> None:
    async def run() -> None:
        one = Local("m/1", target(version))
        await one.settled()
        await one.stop()
        with pytest.raises(CrashError, match="was stopped"):
            await one.predict(BOTH, 1.0)

    asyncio.run(run())


def test_an_older_version_has_no_lane_of_its_own(tmp_path: Path) -> None:
    version = trained(tmp_path, fitted(frame()), frame(), None, task=Task.BINARY)
    assert read_lane(version.folder).lane == "python"
    assert not local.has_graph(target(version))
    (Path(version.folder) / "model" / RECORD).write_text("{")
    assert not local.has_graph(target(version))


def held_after_swaps(version: ModelVersion, batch: Columns, swaps: int) -> list[float]:
    """MB that this process holds after each of so many graphs was loaded, asked, and let go."""
    held: list[float] = []

    async def run() -> None:
        for _ in range(swaps):
            one = Local("m/1", target(version))
            await one.settled()
            assert not one.problem
            await one.predict(batch, 60.0)
            held.append(psutil.Process().memory_info().rss / 2**20)
            await one.stop()
            del one

    asyncio.run(run())
    return held


def test_memory_comes_back_after_swaps(tmp_path: Path) -> None:
    """Forty graphs one after another, each asked for a large batch: once every arena of the allocator has been used (eight a
    core), the last ten leave less behind than ten of them hold. In a process of its own, for what other tests left in this one
    is in pieces that graphs fill up."""
    X = pd.DataFrame(np.random.default_rng(4).normal(size=(3000, 6)), columns=list("abcdef"))
    y = np.random.default_rng(5).normal(size=len(X))  # noise: the trees grow as large as they may
    model = HistGradientBoostingRegressor(max_iter=100, max_leaf_nodes=400, min_samples_leaf=2, early_stopping=False)
    version = put_graph(trained(tmp_path, model.fit(X, y), X, None, task=Task.REGRESSION), model, X)
    batch: Columns = {str(name): X[name].tolist() for name in X}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        held = pool.submit(held_after_swaps, version, batch, 40).result()
    graph = (Path(version.folder) / "model" / GRAPH).stat().st_size / 2**20
    assert graph > 1.0
    assert max(held[30:]) - max(held[20:30]) < 10 * graph, [round(mb) for mb in held]
