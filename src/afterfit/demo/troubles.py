"""Three troubles, placed by the seed and labelled as such. They touch the world, never the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

FAHRENHEIT = ["temp", "dewp"]


@dataclass
class Trouble:
    """Something that is done to the system from outside, and how it was noticed."""

    kind: str  # feed | release | kill
    title: str
    at: pd.Timestamp
    until: pd.Timestamp
    injected_at: pd.Timestamp | None = None
    detected_at: pd.Timestamp | None = None
    detected_as: str = ""
    seconds_to_detection: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def plan(seed: int, first: pd.Timestamp, last: pd.Timestamp) -> list[Trouble]:
    """Where the troubles fall: a feed fault in the warm half of the year, a bad release and a kill anywhere after
    the first six weeks. Troubles that would fall after `last` are left out."""
    rng = np.random.default_rng(seed)
    year = first.year
    warm = pd.Timestamp(year, 5, 1, tz="UTC") + pd.Timedelta(days=int(rng.integers(0, 140)), hours=5)
    days = int(rng.integers(3, 6))
    calm = first + pd.Timedelta(days=45)
    span = max(1, (pd.Timestamp(year, 11, 20, tz="UTC") - calm).days)
    release = calm + pd.Timedelta(days=int(rng.integers(0, span)))
    kill = calm + pd.Timedelta(days=int(rng.integers(0, span)), hours=int(rng.integers(12, 23)))
    found = [
        Trouble("feed", "the weather feed switches from °F to °C", warm, warm + pd.Timedelta(days=days)),
        Trouble("release", "an operator deploys a candidate whose encoder is broken", release, release),
        Trouble("kill", "the champion's worker process is killed with SIGKILL", kill, kill),
    ]
    return sorted((t for t in found if t.at < last), key=lambda t: t.at)


def break_feed(rows: pd.DataFrame, trouble: Trouble) -> pd.DataFrame:
    """The rows as the faulty feed delivers them: °C where °F is expected, during the trouble."""
    hit = (rows["time"] >= trouble.at) & (rows["time"] < trouble.until)
    if not hit.any():
        return rows
    rows = rows.copy()
    for column in FAHRENHEIT:
        rows.loc[hit, column] = ((rows.loc[hit, column] - 32.0) / 1.8).round(1)
    return rows
