"""No request breaks the gateway or is logged by half; the command `python -m tests.fuzz` does the same at full size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.hunt import hunted, reconciled
from tests.fuzz.openapi import explored
from tests.fuzz.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_fuzzed_requests_in_every_dialect(place: Place) -> None:
    hunt = hunted(place, 3000, seed=1)
    assert hunt.complaints == [], "\n".join(hunt.complaints[:5])
    assert reconciled(place, hunt) == ""
    assert min(hunt.counts[dialect, status] for dialect in ("v1", "v2", "mlflow") for status in ("200", "400")) > 50


def test_the_description_is_kept(place: Place) -> None:
    failed, said = explored(place, 5, seed=1)
    assert not failed, said
    served = sum(place.report().served.values())
    place.stop()
    answered, _ = place.logged()
    assert answered.total() >= served > 0
