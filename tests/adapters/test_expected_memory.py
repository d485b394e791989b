"""What a version takes is at most what was told from its files: measured in processes that load it and answer many rows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor

from afterfit.adapters import expected_memory as told
from afterfit.adapters.expected_memory import BASE, GRAPH_BASE, Expected, expected_memory, free_memory
from afterfit.adapters.lane import GRAPH
from afterfit.gateway.local import Local
from afterfit.gateway.memory import memory_of
from afterfit.records import ModelVersion, Task
from tests.gateway.kit import target, trained
from tests.gateway.test_local import put_graph

ROWS = 10_000


def numbers(n: int, width: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.normal(size=(n, width)), columns=[f"c{i}" for i in range(width)])
    return X, X["c0"].to_numpy() + rng.normal(size=n)


def grown(version: ModelVersion) -> tuple[float, float]:
    """MB that this process grew by: at the peak of opening the graph and asking it, and in between."""
    columns: dict[str, Any] = {f.name: [0.25] * ROWS for f in version.features}

    async def run() -> tuple[float, float]:
        before = memory_of(os.getpid()).now
        one = Local("m/1", target(version))
        await one.settled()
        assert not one.problem
        kept = memory_of(os.getpid()).now - before
        assert one.now({name: values[:1] for name, values in columns.items()}, 1) is not None
        await one.predict(columns, 60.0)
        await one.stop()
        return memory_of(os.getpid()).peak - before, kept

    return asyncio.run(run())


def measured(version: ModelVersion) -> tuple[float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(grown, version).result()


KINDS: dict[str, tuple[Callable[[], Any], int]] = {
    "forest": (lambda: RandomForestRegressor(30, random_state=0), 8),
    "boosting": (
        lambda: HistGradientBoostingRegressor(
            max_iter=100, max_leaf_nodes=63, min_samples_leaf=2, early_stopping=False
        ),
        8,
    ),
    "network": (lambda: MLPRegressor(hidden_layer_sizes=(900, 900), max_iter=2, random_state=0), 20),
    "linear": (lambda: LogisticRegression(max_iter=20), 300),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_graph_adds_at_most_what_is_expected(kind: str, tmp_path: Path) -> None:
    make, width = KINDS[kind]
    X, z = numbers(4000, width)
    y = (z > 0).astype(int) if kind == "linear" else z
    model = make().fit(X, y)
    version = put_graph(
        trained(tmp_path, model, X, None, task=Task.BINARY if kind == "linear" else Task.REGRESSION), model, X
    )
    expected = expected_memory(version.folder)
    peak, kept = measured(version)
    assert peak <= expected.gateway, (peak, expected)
    assert expected.gateway <= 3.0 * peak, (peak, expected)
    assert expected.process == BASE + expected.gateway
    if kind == "forest":
        size = (Path(version.folder) / "model" / GRAPH).stat().st_size / 2**20
        assert size > 2.0
        assert kept < 0.75 * peak, (peak, kept)  # what opening took beyond the trees themselves is given back


def test_of_a_version_without_a_graph_the_whole_process_is_told(tmp_path: Path) -> None:
    X, y = numbers(200, 3)
    version = trained(tmp_path, LogisticRegression().fit(X, y > 0), X, None, task=Task.BINARY)
    expected = expected_memory(version.folder)
    assert expected == Expected(expected.process, 0.0)
    assert BASE < expected.most < BASE + 1.0


def test_a_graph_that_is_gone_is_of_no_size(tmp_path: Path) -> None:
    X, y = numbers(200, 3)
    model = LogisticRegression().fit(X, y > 0)
    version = put_graph(trained(tmp_path, model, X, None, task=Task.BINARY), model, X)
    (Path(version.folder) / "model" / GRAPH).unlink()
    assert expected_memory(version.folder).gateway == GRAPH_BASE


def test_what_is_free_is_the_machines_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.0 < free_memory() <= psutil.virtual_memory().total / 2**20
    for name, text in {
        "max": str(300 * 2**20),
        "current": str(280 * 2**20),
        "stat": "anon 9\ninactive_file 52428800\n",
    }.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(told, "_CONTAINER", tmp_path)
    assert free_memory() == pytest.approx(70.0)
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 70.0
