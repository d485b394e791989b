"""A minute of the soak; `python -m tests.soak --minutes 30 --requests 5000000` is the long one, and looks at memory too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import verdict
from tests.soak.rows import GRAPH, PLAIN
from tests.soak.run import run


@pytest.mark.timeout(600)
def test_a_minute_with_swaps_leaves_nothing_behind(tmp_path: Path) -> None:
    soak = run(tmp_path, minutes=1.0, requests=2_000, swaps=2, connections=8, every=10.0)
    assert verdict.problems(soak) == []
    assert soak.counts.requests >= 2_000
    assert soak.swaps >= 2
    assert set(soak.counts.acknowledged) == {GRAPH, PLAIN}
    assert {f"{model}/{version}" for model in (GRAPH, PLAIN) for version in (1, 2)} <= soak.counts.versions.keys()
    assert sum(soak.counts.outcomes.values()) > 0
    assert len(verdict.table(soak.samples).splitlines()) == len(soak.samples) + 1
