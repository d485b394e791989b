"""The circuit breaker: pure, so every order of events can be tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afterfit.gateway.breaker import FEW, FEWEST, FIRST_PAUSE, LONGEST_PAUSE, MOST, SHARE, WINDOW, Breaker

steps = st.floats(0.0, 5.0)
calls = st.lists(st.tuples(steps, st.booleans()), max_size=200)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FEW):
        breaker.record(False, at, "timeout")
    assert breaker.open
    return breaker


@given(calls)
def test_it_opens_exactly_when_its_two_rules_say_so(told: list[tuple[float, bool]]) -> None:
    breaker, now, seen = Breaker(), 0.0, list[tuple[float, bool]]()
    for step, fine in told:
        now += step
        seen.append((now, fine))
        breaker.record(fine, now)
        recent = [f for at, f in seen[-MOST:] if at >= now - WINDOW]
        in_a_row = next((i for i, (_, f) in enumerate(reversed(seen)) if f), len(seen))
        failed = recent.count(False)
        expected = not fine and (in_a_row >= FEW or (len(recent) >= FEWEST and failed >= SHARE * len(recent)))
        assert breaker.open == expected
        if expected:
            return


@given(st.lists(st.booleans(), max_size=300))
def test_what_goes_well_mostly_never_opens_it(told: list[bool]) -> None:
    """At most one failure in three, never two in a row."""
    breaker = Breaker()
    for i, fine in enumerate(told):
        breaker.record(fine or i % 3 != 0, float(i))
        assert not breaker.open


@given(st.lists(st.tuples(steps, st.sampled_from(["call", "fine probe", "bad probe", "nothing"])), max_size=200))
def test_an_open_one_stays_so_until_a_probe_goes_well_and_probes_are_rare(told: list[tuple[float, str]]) -> None:
    breaker, now, last = opened(), 0.0, 0.0
    pause = FIRST_PAUSE
    for step, what in told:
        now += step
        due = breaker.probe_due(now)
        assert due == (now >= last + pause)
        assert not breaker.probe_due(now)  # the next one only after a pause
        if due:
            last = now
        if what == "call":
            breaker.record(True, now)  # began before it opened
        elif due and what == "bad probe":
            breaker.probed(False, now)
            pause = min(LONGEST_PAUSE, 2.0 * pause)
        elif due and what == "fine probe":
            breaker.probed(True, now)
            assert not breaker.open
            return
        assert breaker.open


def test_one_that_keeps_opening_waits_longer_until_it_was_steady() -> None:
    breaker, now = opened(), 0.0
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        assert not breaker.probe_due(now + pause - 0.01)
        now += pause
        assert breaker.probe_due(now)
        breaker.probed(True, now)
        for _ in range(FEW):
            breaker.record(False, now)
    assert breaker.probe_due(now + 30.0)
    breaker.probed(True, now + 30.0)
    for i in range(FEWEST):
        breaker.record(True, now + 31.0 + i)
    for _ in range(FEW):
        breaker.record(False, now + 60.0)
    assert breaker.probe_due(now + 61.0)  # forgiven


def test_its_memory_is_bounded() -> None:
    breaker = Breaker()
    for i in range(10_000):
        breaker.record(i % 3 != 0, i / 1000.0)
    assert len(breaker._recent) <= MOST
