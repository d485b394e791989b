"""Puts labelled rows from before the first version into the lake, through a journal like everything else."""

from __future__ import annotations

import asyncio

import pandas as pd

from afterfit.adapters.journal import SqliteJournal
from afterfit.demo.data import FEATURES
from afterfit.demo.stream import records
from afterfit.home import Home
from afterfit.records import Outcome, Prediction, Role

BATCH = 5000  # rows a commit


def import_history(home: Home, model: str, history: pd.DataFrame) -> None:
    """Rows that no version answered: role `history`, version 0. They train the next version, and are never judged."""
    journal = SqliteJournal(home.config.home / "journal" / "history.db")
    try:
        asyncio.run(_write(journal, model, history))
    finally:
        journal.close()
    home.lake.drain(home.config.home / "journal")


async def _write(journal: SqliteJournal, model: str, history: pd.DataFrame) -> None:
    for start in range(0, len(history), BATCH):
        part = history.iloc[start : start + BATCH]
        times = [t.to_pydatetime() for t in part["time"]]
        await journal.predictions(
            [
                Prediction(
                    id=id, model=model, version=0, role=Role.HISTORY, time=at, logged_at=at, features=row,
                    prediction=None, key=key,
                )
                for id, key, at, row in zip(part["id"], part["key"], times, records(part[FEATURES]), strict=True)
            ]
        )  # fmt: skip
        known = part.dropna(subset=["late"])
        landed = [t.to_pydatetime() for t in known["landed"]]
        await journal.outcomes(
            [
                Outcome(model=model, value=int(late), event_time=at, known_time=at, prediction_id=id, source="airport")
                for id, late, at in zip(known["id"], known["late"], landed, strict=True)
            ]
        )
