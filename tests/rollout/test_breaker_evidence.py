"""What a breaker leaves of the evidence: an accident is not taken for harm, and a dead candidate is still found."""

from __future__ import annotations

from math import log

from afterfit.gateway.breaker import Breaker
from afterfit.stats.bad_events import log_e

CONVICTS = log(2.0 / 0.05)  # of the judge, at the default alpha
EVERY = 0.05  # seconds between two requests of which each version gets a copy


def trouble(seconds: float) -> tuple[int, int, int]:
    """(attempts, failures, skipped rows) of a version that fails for so long, asked in turn behind its breaker."""
    breaker, asked, failed, skipped = Breaker(), 0, 0, 0
    for i in range(int(seconds / EVERY)):
        now = i * EVERY
        if breaker.open:
            skipped += 1
            if breaker.probe_due(now):
                asked, failed = asked + 1, failed + 1
                breaker.probed(False, now)
        else:
            asked, failed = asked + 1, failed + 1
            breaker.record(False, now)
    return asked, failed, skipped


def evidence(seconds: float, hours: float, *, count_skipped: bool) -> float:
    """Of a candidate with one trouble of that length, in a rollout of so many hours in which nothing else went wrong."""
    asked, failed, skipped = trouble(seconds)
    well = int(hours * 3600.0 / EVERY)
    candidate, bad = well + asked, failed
    if count_skipped:
        candidate, bad = candidate + skipped, bad + skipped
    return log_e(bad, 0, candidate / (candidate + well + asked + skipped))


def test_an_accident_of_seconds_does_not_convict_however_many_rows_are_skipped_behind_it() -> None:
    """Two versions that are the same have accidents alike; whose comes first must not decide. Counted as failures, the
    rows behind one accident would."""
    for seconds in (1.0, 5.0, 15.0):
        assert evidence(seconds, hours=1.0, count_skipped=False) < CONVICTS
    assert evidence(5.0, hours=1.0, count_skipped=True) > 10.0 * CONVICTS


def test_a_dead_candidate_is_found_by_its_probes() -> None:
    """Within five minutes, although it is asked a few times a minute only."""
    asked, failed, skipped = trouble(300.0)
    assert asked == failed < 25
    assert skipped > 5000
    assert evidence(300.0, hours=1.0, count_skipped=False) > CONVICTS
