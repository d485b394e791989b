"""Windows with more rows than the loop looks at: it draws a share of them, and still tells how many there were."""

from __future__ import annotations

from pathlib import Path

import pytest

from afterfit.loop import outcomes, sensing
from tests.loop.test_outcomes import A_DAY, Days

LOOKED_AT = 60


def test_a_share_of_a_large_window_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sensing, outcomes):
        monkeypatch.setattr(module, "LOOKED_AT", LOOKED_AT)
    days = Days(tmp_path)
    try:
        days.live(5)
        store = days.world.home.store
        looked_at = [(findings, numbers) for _, findings, numbers in store.windows("m", "drift") if numbers["n"]]
        assert [numbers["n"] for _, numbers in looked_at] == [A_DAY] * len(looked_at)
        rows = {f.n_window for findings, _ in looked_at for f in findings if f.n_window}
        assert rows
        assert (
            0 < min(rows) <= max(rows) < 1.5 * LOOKED_AT
        )  # 60 expected, its standard deviation is 7, the ids are fixed
        mature = [numbers for _, _, numbers in store.windows("m", "performance") if numbers["labelled"]]
        assert {numbers["labelled"] for numbers in mature} == {A_DAY}
        assert max(numbers["own_n"] for numbers in mature) < 1.5 * LOOKED_AT
    finally:
        days.world.close()
