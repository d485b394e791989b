"""A real worker process: asked in batches, timed, killed, replaced; nobody else pays for one bad row."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from afterfit.errors import WorkerError
from afterfit.gateway import workers
from afterfit.gateway.memory import memory_of, most
from afterfit.gateway.workers import SHADOW, AbsentError, CrashError, Worker
from afterfit.records import ModelVersion
from tests.gateway.kit import HANG, KILL, NAN, RAISE, SLOW, Picky, Scripted, save, target

PATIENT = 30.0  # a busy machine may take this long to start a process again


def with_worker(version: ModelVersion, act: Callable[[Worker], Coroutine[Any, Any, None]]) -> None:
    """Run `act` with a started worker, and end its process whatever happens."""

    async def run() -> None:
        worker = Worker("m/1", target(version), Path(version.folder) / "worker.log")
        try:
            await worker.settled()
            await act(worker)
        finally:
            await worker.stop()

    asyncio.run(run())


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return save(tmp_path_factory.mktemp("worker"), Scripted())


def test_it_answers_in_pieces_and_batches(version: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_ROWS", 100)

    async def act(worker: Worker) -> None:
        values: list[Any] = [i / 1000 for i in range(250)]
        predictions, scores = await worker.predict({"a": values}, 1.0)
        assert scores is not None
        assert [s[1] for s in scores] == values
        assert predictions == [0] * 250
        batches: list[int] = []
        joined = workers._joined
        monkeypatch.setattr(workers, "_joined", lambda batch: batches.append(len(batch)) or joined(batch))  # type: ignore[func-returns-value]
        asked = [worker.predict({"a": [i / 100]}, 5.0) for i in range(60)]
        answers = await asyncio.gather(*asked, worker.predict({"a": [SLOW]}, 5.0))
        assert [a[1][0][1] for a in answers[:60] if a[1] is not None] == [i / 100 for i in range(60)]
        assert sum(batches) == 61
        assert len(batches) <= 3  # what queued while it was busy went in one call

    with_worker(version, act)


def test_one_bad_row_fails_alone(version: ModelVersion) -> None:
    async def act(worker: Worker) -> None:
        rows = [0.1, RAISE, 0.2, NAN, 0.3]
        asked = [worker.predict({"a": [a]}, 5.0) for a in (SLOW, *rows)]
        _, *answers = await asyncio.gather(*asked, return_exceptions=True)
        fine = [a for a in answers if not isinstance(a, BaseException)]
        assert [a[1][0][1] for a in fine if a[1] is not None] == [0.1, 0.2, 0.3]
        assert isinstance(answers[1], WorkerError)
        assert "RuntimeError: out of luck" in str(answers[1])
        assert "NaN" in str(answers[3])
        assert worker.deaths == 0

    with_worker(version, act)


def test_a_crash_is_told_at_once_and_those_who_wait_are_served_by_the_next(version: ModelVersion) -> None:
    async def act(worker: Worker) -> None:
        slow = asyncio.create_task(worker.predict({"a": [SLOW]}, 5.0))
        await asyncio.sleep(0.05)
        deadly = asyncio.create_task(worker.predict({"a": [KILL]}, 5.0, alone=True))
        hasty = asyncio.create_task(worker.predict({"a": [0.1]}, 5.0))
        patient = asyncio.create_task(worker.predict({"a": [0.2]}, 5.0, patience=PATIENT))
        await slow
        began = time.monotonic()
        for task in (deadly, hasty):
            with pytest.raises(CrashError, match="crash"):
                await task
        assert time.monotonic() - began < 1.0
        with pytest.raises(AbsentError, match="not there"):  # a candidate that is down costs its callers no time
            await worker.predict({"a": [0.1]}, 5.0)
        assert (await patient)[1] == [[0.8, 0.2]]
        assert worker.deaths == 1
        assert not worker.complaint  # once is an accident

    with_worker(version, act)


def test_an_idle_process_that_is_killed_is_replaced(version: ModelVersion) -> None:
    async def act(worker: Worker) -> None:
        first = worker.pid
        os.kill(first or 0, signal.SIGKILL)
        while worker.pid == first:
            await asyncio.sleep(0.01)
        answer = await worker.predict({"a": [0.5]}, 5.0, patience=PATIENT)
        assert answer[1] == [[0.5, 0.5]]
        assert worker.pid != first

    with_worker(version, act)


def test_a_hung_process_is_killed(version: ModelVersion) -> None:
    async def act(worker: Worker) -> None:
        first = psutil.Process(worker.pid)
        with pytest.raises(CrashError, match="timeout"):
            await worker.predict({"a": [HANG]}, 0.3, patience=PATIENT)
        assert not first.is_running()
        assert (await worker.predict({"a": [0.5]}, 5.0, patience=PATIENT))[0] == [0]

    with_worker(version, act)


def test_callers_go_before_shadows_and_shadows_have_time(version: ModelVersion) -> None:
    async def act(worker: Worker) -> None:
        done: list[str] = []

        async def ask(name: str, value: float, priority: int) -> None:
            patience = None if priority == SHADOW else 5.0
            await worker.predict({"a": [value]}, 0.8, patience=patience, priority=priority, alone=True)
            done.append(name)

        shadows = [asyncio.create_task(ask(f"shadow {i}", SLOW, SHADOW)) for i in range(2)]
        await asyncio.sleep(0.05)
        served = [asyncio.create_task(ask(f"caller {i}", SLOW, 0)) for i in range(3)]
        await asyncio.gather(*shadows, *served)  # in all longer than a shadow's timeout, which is for one call only
        assert done[0].startswith("shadow")
        assert [name.split()[0] for name in done[1:]] == ["caller"] * 3 + ["shadow"]

    with_worker(version, act)


def test_a_stopped_worker_says_so(version: ModelVersion) -> None:
    async def run() -> None:
        worker = Worker("m/1", target(version), Path(version.folder) / "worker.log")
        await worker.settled()
        process = psutil.Process(worker.pid)
        asked = [asyncio.create_task(worker.predict({"a": [HANG]}, 60.0, patience=p, alone=True)) for p in (None, 60.0)]
        await asyncio.sleep(0.1)
        await worker.stop()
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, CrashError)
        with pytest.raises(CrashError, match="was stopped"):
            await worker.predict({"a": [0.1]}, 5.0, patience=60.0)
        assert not process.is_running()

    asyncio.run(run())


def _lacks_a_file(version: ModelVersion) -> ModelVersion:
    (Path(version.folder) / "model" / "MLmodel").unlink()
    return version


def _other_routes(version: ModelVersion) -> ModelVersion:
    return replace(version, model_sha256="0" * 64)


def _golden(predictions: list[int], scores: list[list[float]]) -> Callable[[ModelVersion], ModelVersion]:
    def write(version: ModelVersion) -> ModelVersion:
        kept = {"rows": [{"a": 0.1}, {"a": 0.7}], "predictions": predictions, "scores": scores}
        (Path(version.folder) / "golden.json").write_text(json.dumps(kept), encoding="utf-8")
        return version

    return write


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_lacks_a_file, "is not what was registered"),
        (_other_routes, "wanted 000000000000"),
        (_golden([0, 1], [[0.9, 0.1], [0.58, 0.42]]), "probe failed: golden row 1 scored"),
        (_golden([0, 0], [[0.9, 0.1], [0.3, 0.7]]), "probe failed: golden row 1 predicted 1, was registered as 0"),
    ],
    ids=["missing file", "other hash in the routes", "other scores", "other labels"],
)
def test_a_version_that_is_not_what_was_registered_never_answers(
    tmp_path: Path, damage: Callable[[ModelVersion], ModelVersion], said: str
) -> None:
    async def act(worker: Worker) -> None:
        assert said in worker.problem
        assert worker.complaint == worker.problem
        with pytest.raises(CrashError, match="not there"):  # nor is anybody kept waiting
            await worker.predict({"a": [0.1]}, 5.0, patience=60.0)

    with_worker(damage(save(tmp_path, Scripted())), act)


def test_labels_are_the_models_own_and_golden_rows_pass(tmp_path: Path) -> None:
    kept = {"rows": [{"a": 0.3}], "predictions": [1], "scores": [[0.7, 0.3]]}

    async def act(worker: Worker) -> None:
        assert not worker.problem
        assert await worker.predict({"a": [0.1, 0.3]}, 5.0) == ([0, 1], [[0.9, 0.1], [0.7, 0.3]])

    with_worker(save(tmp_path, Picky(), golden=kept), act)


def test_trouble_of_the_machine_does_not_end_the_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can't be started (no memory, no descriptor) is tried again."""
    spawn, failures = Worker._spawn, iter([OSError("out of memory")])

    def fail_once(self: Worker, fd: int) -> Any:
        for error in failures:
            raise error
        return spawn(self, fd)

    monkeypatch.setattr(Worker, "_spawn", fail_once)

    async def act(worker: Worker) -> None:
        assert (await worker.predict({"a": [0.5]}, 5.0, patience=PATIENT))[0] == [0]
        assert worker.deaths == 1

    with_worker(save(tmp_path, Scripted()), act)


def test_a_queue_without_end_is_refused(version: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_WAITING", 3)

    async def act(worker: Worker) -> None:
        asked = [worker.predict({"a": [SLOW]}, 5.0, alone=True) for _ in range(8)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [a for a in answers if isinstance(a, WorkerError)]
        assert len(refused) == 4  # one is with the process, three wait
        assert all("too busy" in str(a) for a in refused)

    with_worker(version, act)


class Leaky(Scripted):
    """Keeps 32 MB of each call."""

    def predict_proba(self, X: pd.DataFrame) -> Any:
        self.kept = [*getattr(self, "kept", []), np.ones(2**22)]
        return super().predict_proba(X)


def test_one_that_takes_too_much_memory_is_killed_and_says_why(tmp_path: Path) -> None:
    async def act(worker: Worker) -> None:
        before = worker.memory
        assert before > 50.0  # what the probe took, known before anybody is sent to it
        worker.memory_limit = before + 100.0

        async def ask() -> None:
            for _ in range(200):
                await worker.predict({"a": [0.5]}, PATIENT)
                await asyncio.sleep(0.02)

        with pytest.raises(CrashError, match="memory: took") as caught:
            await ask()
        assert "worker_memory lets it take" in str(caught.value)
        assert worker.memory > worker.memory_limit
        assert (await worker.predict({"a": [0.5]}, 5.0, patience=PATIENT))[1] == [[0.5, 0.5]]
        assert worker.deaths == 1

    with_worker(save(tmp_path, Leaky()), act)


def test_without_a_limit_of_its_own_a_version_may_take_half_of_the_machine() -> None:
    assert most(123.0) == 123.0
    assert 0.0 < most(None) <= psutil.virtual_memory().total / 2**20 / 2.0
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert memory_of(gone.pid) == (0.0, 0.0)
