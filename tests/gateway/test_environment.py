"""A version trained under another scikit-learn is asked in an environment of its own, beside one of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

from afterfit.adapters import environments
from afterfit.adapters.environments import foreign_python, make, misfit, place, python_of, unmade
from afterfit.adapters.model_folder import load_model
from afterfit.errors import SetupError, WorkerError
from afterfit.lifecycle import Happening
from afterfit.records import ModelVersion
from tests import world as world_module
from tests.world import START, World, wait_for

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
OTHER = "1.6.1"
ROWS = [{"a": -1.0, "b": 0}, {"a": 0.1, "b": 3}, {"a": 2.5, "b": 4}]
SETTINGS = {"lane": "python", "rollout": {"canary": [0.5], "timeout": "5s"}}
TRAIN = """
import json, sys
from datetime import datetime
from pathlib import Path
import numpy as np, pandas as pd, sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import afterfit as af
from afterfit.config import parse
told = json.loads(sys.argv[1])
rng = np.random.default_rng(7)
X = pd.DataFrame({"a": rng.normal(size=700), "b": rng.integers(0, 5, 700)})
y = pd.Series((X["a"] + rng.normal(size=700) > 0).astype(int))
model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20)).fit(X[:400], y[:400])
config = parse({"models": {"m": told["settings"]}, "port": 0}, root=Path(told["folder"]))
times = pd.Series(pd.date_range(end=told["end"], periods=400, freq="h"))
af.register("m", model, X[:400], y[:400], holdout=(X[400:], y[400:]), time=times, config=config)
rows = pd.DataFrame(told["rows"])
print(json.dumps({"library": sklearn.__version__, "scores": model.predict_proba(rows).tolist()}))
"""


@pytest.fixture(scope="module")
def other_python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with the other scikit-learn and all that `af.register` needs; kept in pytest's cache folder."""
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir("environments") / f"scikit-learn-{OTHER}-{sys.version_info.minor}"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        same = [f"{name}=={metadata.version(name)}" for name in ("mlflow-skinny", "sqlalchemy", "alembic")]
        try:
            environments._uv("venv", "--quiet", "--python", sys.executable, str(folder))
            install = ("pip", "install", "--quiet", "--python", str(python_of(folder)))
            environments._uv(*install, "-r", str(ROOT / "pyproject.toml"), f"scikit-learn=={OTHER}", *same)
        except SetupError as error:
            pytest.skip(f"no environment with scikit-learn {OTHER}: {error}")
        (folder / "whole").touch()
    return python_of(folder)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, SETTINGS)
    yield made
    made.close()


def foreign(world: World, python: Path) -> tuple[ModelVersion, list[list[float]]]:
    """A version that the other environment trained and registered, and its scores of ROWS there."""
    settings = {**world_settings(), **SETTINGS}
    told = {"folder": str(world.folder), "rows": ROWS, "end": START.isoformat(), "settings": settings}
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [str(python), "-c", TRAIN, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["library"] == OTHER
    return world.home.store.versions("m")[-1], answer["scores"]


def world_settings() -> dict[str, Any]:
    return dict(world_module.SETTINGS)


def ask_version(world: World, version: int) -> dict[str, Any]:
    """What the gateway says of a version."""
    told = httpx.get(f"{world.url}/v1/models/m", timeout=30.0).json()["versions"]
    return dict(next(v for v in told if v["version"] == version))


def scores(world: World, version: int) -> list[list[float]]:
    """Of ROWS, by this version: keys are tried until each row falls to it."""
    found: list[list[float]] = []
    for row in ROWS:
        for key in range(200):
            (told,) = world.predict([row], key=[f"k{key}"]).json()["predictions"]
            if told["version"] == version:
                assert not told.get("degraded")
                found.append(told["scores"])
                break
    return found


def close(found: list[list[float]], wanted: list[list[float]]) -> bool:
    """Whether answers are the same."""
    assert len(found) == len(wanted)
    return all(f == pytest.approx(w, abs=1e-12) for f, w in zip(found, wanted, strict=True))


def test_a_version_of_another_scikit_learn_is_served_beside_ours(world: World, other_python: Path) -> None:
    """Registered there, probed, served as canary beside our champion; killed and started again; then made champion."""
    world.live()
    version, wanted = foreign(world, other_python)
    with pytest.raises(WorkerError, match=f"trained with scikit-learn {OTHER}"):
        load_model(version)
    assert foreign_python(Path(version.folder)) == other_python
    world.say(Happening.FAST_TRACKED, version=2, weight=0.5, why="test")
    world.start()
    assert close(scores(world, 2), wanted)
    assert len(scores(world, 1)) == len(ROWS)
    told = ask_version(world, 2)
    assert not told["problem"]
    assert "environment of its own" in json.dumps(told)
    assert "environment of its own" not in json.dumps(ask_version(world, 1))
    os.kill(told["pid"], 9)
    wait_for(lambda: ask_version(world, 2)["pid"] not in (None, told["pid"]), 60, "no new worker")
    wait_for(lambda: not ask_version(world, 2)["problem"], 60, "the new worker does not answer")
    assert close(scores(world, 2), wanted)
    world.say(Happening.PROMOTED, version=2)
    world.settled()
    assert close([p["scores"] for p in world.predict(ROWS).json()["predictions"]], wanted)
    world.stop()


def test_an_environment_is_made_of_the_requirements_alone(world: World, other_python: Path) -> None:
    """The interpreter that registered it is gone: refused with the reason, until one is made, which holds no more than
    the model's own requirements and what a worker needs."""
    version, wanted = foreign(world, other_python)
    folder = Path(version.folder)
    record = folder / "version.json"
    record.write_text(record.read_text().replace(str(other_python), "/nowhere/bin/python"))
    assert (foreign_python(folder), unmade(folder)) == (None, True)
    python = make(folder)
    assert (foreign_python(folder), make(folder), unmade(folder)) == (python, python, False)
    installed = subprocess.run([python, "-c", "import mlflow"], capture_output=True, check=False)
    assert installed.returncode  # a worker does without
    world.tick()
    world.tick()
    world.start()
    assert close([p["scores"] for p in world.predict(ROWS).json()["predictions"]], wanted)
    world.stop()


def test_what_can_not_be_made_is_told_where_the_version_is_refused(world: World) -> None:
    """A release that does not exist: nothing half made is left, and the refusal says why."""
    version = world.register()
    model = Path(version.folder) / "model"
    here = metadata.version("scikit-learn")
    for name in ("MLmodel", "requirements.txt"):
        text = (model / name).read_text()
        (model / name).write_text(text.replace(here, "0.0.99"))
    assert "python -m afterfit.adapters.environments" in misfit(model)
    assert unmade(model.parent)
    with pytest.raises(SetupError, match="can't be made"):
        make(model.parent)
    assert not unmade(model.parent)  # nobody tries for ever
    assert "could not be made: uv" in misfit(model)
    left = [path.name for path in place(model.parent).parent.iterdir()]
    assert left == [f"{place(model.parent).name}.failed"]
