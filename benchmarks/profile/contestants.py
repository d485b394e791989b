"""One contestant, once: `python contestants.py NAME REFERENCE CURRENT` prints seconds, peak memory and what it found.

Runs in the environment of the contestant. Imports are not timed; reading the Parquet files is, and told apart.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")
LIMIT = 0.05  # p-value below which the scipy loop calls a column drifted


def afterfit(reference: str, current: str) -> Callable[[], Any]:
    import afterfit as af
    from afterfit import api  # noqa: F401  nothing is imported while the clock runs, as for the peers
    from afterfit.adapters import profiler  # noqa: F401

    return lambda: len({f.column for f in af.compare(reference, current).drifted})


def duckdb(reference: str, current: str) -> Callable[[], Any]:
    """No comparison: counts, nulls, min, max, mean and variance of the current file only."""
    import duckdb as db

    names = db.sql(f"SELECT * FROM '{current}' LIMIT 0").columns
    parts = []
    for name in names:
        parts += [f"count({name})", f"count(*) - count({name})", f"min({name})", f"max({name})"]
        parts += [] if name.startswith("s") else [f"avg({name})", f"var_samp({name})"]
    query = f"SELECT {', '.join(parts)} FROM '{current}'"
    return lambda: len(db.connect().sql(query).fetchall())


def scipy(reference: str, current: str) -> Callable[[], Any]:
    import numpy as np
    import pandas as pd
    from scipy.stats import chi2_contingency, ks_2samp

    def run() -> int:
        old, new = frames(reference, current)
        drifted = 0
        for name in old:
            a, b = old[name].dropna(), new[name].dropna()
            if name.startswith("s"):
                table = pd.concat([a.value_counts(), b.value_counts()], axis=1).fillna(0)
                p = chi2_contingency(np.asarray(table).T).pvalue
            else:
                p = ks_2samp(a, b, method="asymp").pvalue
            drifted += p < LIMIT
        return int(drifted)

    return run


def evidently(reference: str, current: str) -> Callable[[], Any]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    def run() -> int:
        old, new = frames(reference, current)
        result = Report([DataDriftPreset()]).run(new, old)
        return len(result.json()) > 0

    return run


def nannyml(reference: str, current: str) -> Callable[[], Any]:
    import nannyml as nml

    def run() -> int:
        old, new = frames(reference, current)
        calculator = nml.UnivariateDriftCalculator(
            column_names=list(old),
            continuous_methods=["jensen_shannon"],
            categorical_methods=["jensen_shannon"],
            chunk_size=100_000,
        )
        return len(calculator.fit(old).calculate(new).to_df())

    return run


def whylogs(reference: str, current: str) -> Callable[[], Any]:
    import whylogs as why
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    def run() -> int:
        old, new = frames(reference, current)
        profiles = [why.log(frame).profile().view() for frame in (old, new)]
        scores = calculate_drift_scores(target_view=profiles[1], reference_view=profiles[0])
        return len(scores)

    return run


READ = {"seconds": 0.0}


def frames(reference: str, current: str) -> list[Any]:
    import pandas as pd

    began = time.perf_counter()
    found = [pd.read_parquet(path) for path in (reference, current)]
    READ["seconds"] = time.perf_counter() - began
    return found


def peak() -> float:
    """Peak resident memory of this process in MB."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def main(name: str, reference: str, current: str) -> None:
    run = globals()[name](reference, current)
    began = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "read": READ["seconds"], "peak_mb": peak(), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
