"""Simulated worlds in which it is known why a model got worse.

Weather decides whether a flight is late: p = expit(1.2 z(temp) - 1.6 z(wind) + effect of the airport - 1.5). The model is
right about the reference. In the window one thing changes, or two of which one is clearly larger.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import expit

import afterfit as af
from afterfit.monitoring.cause import Cause

WORLDS = 20
AIRPORTS = np.array(["EWR", "JFK", "LGA"])
EFFECT = {"EWR": 0.0, "JFK": 0.6, "LGA": -0.6}


def flights(rng: np.random.Generator, n: int, wind: float = 0.0, spread: float = 1.0) -> pd.DataFrame:
    """What is known before departure: `wind` moves its mean in standard deviations, `spread` is its standard deviation."""
    return pd.DataFrame(
        {
            "temp": 60.0 + 12.0 * rng.normal(size=n),
            "wind": 10.0 + 3.0 * (wind + spread * rng.normal(size=n)),
            "humid": 50.0 + 10.0 * rng.normal(size=n),
            "origin": rng.choice(AIRPORTS, n),
        }
    )


def chance(frame: pd.DataFrame, temp: float = 1.2, wind: float = -1.6, start: float = -1.5) -> np.ndarray:
    """Of being late; the model's answer with the defaults. A null is what the mean is; an unknown airport has no effect."""
    z_temp, z_wind = (frame["temp"] - 60.0) / 12.0, (frame["wind"] - 10.0) / 3.0
    airport = frame["origin"].map(EFFECT).fillna(0.0)
    found: np.ndarray = expit((temp * z_temp.fillna(0.0) + wind * z_wind.fillna(0.0) + airport + start).to_numpy(float))
    return found


def lived(rng: np.random.Generator, frame: pd.DataFrame, real: np.ndarray | None = None) -> pd.DataFrame:
    """With the model's answer `p` and what came true; `real` is the chance, by default what the model says."""
    p = chance(frame)
    return frame.assign(p=p, late=(rng.random(len(frame)) < (p if real is None else real)).astype(int))


def seen_broken(rng: np.random.Generator, frame: pd.DataFrame, broken: pd.DataFrame, real: np.ndarray) -> pd.DataFrame:
    """Outcomes follow the true rows; the model saw the broken ones."""
    return broken.assign(p=chance(broken), late=(rng.random(len(frame)) < real).astype(int))


def nothing(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return lived(rng, flights(rng, n))


def covariate(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Less wind: more flights on the edge."""
    return lived(rng, flights(rng, n, wind=-1.0, spread=0.3))


def label(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Late flights are 60 %, not 28 %; late and punctual ones look as they did."""
    many = lived(rng, flights(rng, 8 * n))
    late = rng.random(n) < 0.6
    return pd.concat(
        [many[many["late"] == 1].iloc[: late.sum()], many[many["late"] == 0].iloc[: n - late.sum()]]
    ).sample(frac=1.0, random_state=int(rng.integers(2**31)))


def concept(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Heat no longer matters as it did, wind less."""
    frame = flights(rng, n)
    return lived(rng, frame, chance(frame, temp=-0.8, wind=-1.0))


def celsius(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """All temperatures in °C."""
    frame = flights(rng, n)
    return seen_broken(rng, frame, frame.assign(temp=(frame["temp"] - 32.0) / 1.8), chance(frame))


def sensor(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """A sensor says -999 in 30 % of the rows."""
    frame = flights(rng, n)
    wind = frame["wind"].where(rng.random(n) > 0.3, -999.0)
    return seen_broken(rng, frame, frame.assign(wind=wind), chance(frame))


def nulls(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """No wind in 85 % of the rows."""
    frame = flights(rng, n)
    wind = frame["wind"].where(rng.random(n) > 0.85)
    return seen_broken(rng, frame, frame.assign(wind=wind), chance(frame))


def concept_and_covariate(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Concept adds about .11, covariate shift about .02."""
    frame = flights(rng, n, wind=-0.4)
    return lived(rng, frame, chance(frame, temp=-0.8, wind=-1.0))


def covariate_and_concept(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Covariate shift adds about .056, concept about .016."""
    frame = flights(rng, n, wind=-1.0, spread=0.3)
    return lived(rng, frame, chance(frame, temp=0.9))


def broken_and_covariate(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """The sensor costs about .16, covariate shift about .01."""
    frame = flights(rng, n, wind=-0.3)
    wind = frame["wind"].where(rng.random(n) > 0.3, -999.0)
    return seen_broken(rng, frame, frame.assign(wind=wind), chance(frame))


def concept_and_broken(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Concept adds about .10, the sensor of 8 % of the rows about .04."""
    frame = flights(rng, n)
    wind = frame["wind"].where(rng.random(n) > 0.08, -999.0)
    return seen_broken(rng, frame, frame.assign(wind=wind), chance(frame, temp=-0.8, wind=-1.0))


def explained(world: Callable[[np.random.Generator, int], pd.DataFrame], seed: int, n: int = 1200) -> Cause:
    """What is said of a reference and a window of n rows each."""
    rng = np.random.default_rng([seed, sum(map(ord, world.__name__))])
    return af.cause(nothing(rng, n), world(rng, n), target="late", scores="p", seed=seed)
