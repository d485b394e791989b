"""Builders of log rows for the tests of journal and lake, and a way to write them without an event loop at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from afterfit.adapters.journal import SqliteJournal
from afterfit.records import Outcome, Prediction, Role, ShadowScore, Window

MODEL = "flight-delay"
START = datetime(2013, 1, 1, tzinfo=UTC)
YEAR = Window(START, START + timedelta(days=365))


def hour(n: float) -> datetime:
    return START + timedelta(hours=n)


def prediction(id: str, at: float = 0.0, **changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "model": MODEL,
        "version": 1,
        "role": Role.CHAMPION,
        "time": hour(at),
        "logged_at": hour(at),
        "features": {"distance": 1.5, "carrier": "UA"},
        "prediction": 1,
        "scores": (0.25, 0.75),
    }
    return Prediction(id=id, **(values | changes))


def shadow(prediction_id: str, at: float = 0.0, **changes: Any) -> ShadowScore:
    values: dict[str, Any] = {"model": MODEL, "version": 2, "time": hour(at), "logged_at": hour(at), "prediction": 0}
    return ShadowScore(prediction_id=prediction_id, **(values | changes))


def outcome(prediction_id: str | None, value: Any, known: float = 3.0, **changes: Any) -> Outcome:
    values: dict[str, Any] = {"model": MODEL, "event_time": hour(2), "known_time": hour(known)}
    return Outcome(prediction_id=prediction_id, value=value, **(values | changes))


def write(
    path: Path,
    predictions: Sequence[Prediction] = (),
    outcomes: Sequence[Outcome] = (),
    shadows: Sequence[ShadowScore] = (),
) -> list[str]:
    """Open the journal, write everything, close it; the answers to the outcomes."""

    async def requests() -> list[str]:
        if predictions:
            await journal.predictions(predictions)
        journal.shadows(shadows)
        return await journal.outcomes(outcomes)

    journal = SqliteJournal(path)
    try:
        return asyncio.run(requests())
    finally:
        journal.close()
