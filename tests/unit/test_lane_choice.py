"""`lane = "python"` in afterfit.toml keeps a version in a process of its own, though a graph could answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import afterfit as af
from afterfit.adapters.lane import ONNX, PYTHON, read_lane
from afterfit.config import parse


@pytest.mark.parametrize(("wanted", "found"), [("auto", ONNX), ("python", PYTHON)])
def test_the_settings_decide_whether_a_graph_is_made(tmp_path: Path, wanted: str, found: str) -> None:
    config = parse({"home": str(tmp_path), "models": {"m": {"task": "binary", "lane": wanted}}}, root=tmp_path)
    x = pd.DataFrame({"a": np.linspace(-1, 1, 200), "b": np.arange(200.0)})
    y = (x["a"] > 0).astype(int)
    version = af.register("m", LogisticRegression().fit(x, y), x, y, config=config)
    lane = read_lane(version.folder)
    assert lane.lane == found
    assert version.tags["lane"] == found
    assert ('lane = "python"' in lane.why) == (wanted == "python")
