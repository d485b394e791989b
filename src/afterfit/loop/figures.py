"""What the controller has to say on the gateways' page of metrics, after each look; `docs/telemetry.md` lists the names.

Counters come from the ledger and the incidents that are kept, so that they go on after a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from afterfit.lifecycle import Happening, Phase
from afterfit.loop.book import Book
from afterfit.loop.conductor import Loop
from afterfit.records import Family, Sample

KINDS = ("quality", "drift", "concept", "performance")  # of incidents
_LOOK_BACK = 5  # windows in which the newest one that says something is looked for


def figures(loop: Loop, now: datetime, seconds: float) -> tuple[Family, ...]:
    """The metrics of all models under care, of a look at `now` that took so many seconds."""
    books = [loop.book(name) for name in loop.models()]
    return (
        _gauge("controller_tick_timestamp_seconds", "When the last look ended well.", [Sample(now.timestamp())]),
        _gauge("controller_tick_seconds", "How long it took.", [Sample(seconds)]),
        _gauge(
            "published_routes_number",
            "Number of the routes that gateways should run.",
            [Sample(loop.home.board.current().number)],
        ),
        *_of_life(books),
        *_of_incidents(loop, books, now),
        *_of_answers(loop, [book for book in books if book.state.champion is not None], now),
    )


def _of_life(books: list[Book]) -> Iterable[Family]:
    live = [Sample(book.state.champion or 0, {"model": book.model}) for book in books]
    yield _gauge("champion_version", "The version that is live; 0 where none is.", live)
    phases = [
        Sample(float(book.state.phase is phase), {"model": book.model, "phase": phase.value})
        for book in books
        for phase in Phase
    ]
    yield _gauge("phase", "1 for the phase that a model is in.", phases)
    events = [Sample(n, {"model": book.model, "event": name}) for book in books for name, n in _events(book).items()]
    yield Family("afterfit_events_total", "counter", "Events in the life of a model.", tuple(events))


def _events(book: Book) -> Mapping[str, int]:
    found = Counter(entry.name for entry in book.entries if entry.kind == "event")
    return {happening.value: found[happening.value] for happening in Happening}


def _of_incidents(loop: Loop, books: list[Book], now: datetime) -> Iterable[Family]:
    total, open_, allowed = [], [], []
    for book in books:
        incidents = loop.home.store.incidents(book.model)
        for kind in KINDS:
            labels = {"model": book.model, "kind": kind}
            of_kind = [incident for incident in incidents if incident.kind == kind]
            total.append(Sample(len(of_kind), labels))
            open_.append(Sample(sum(incident.closed_at is None for incident in of_kind), labels))
        config = loop.config(book.model)
        watched = (now - book.crowned[0][1]).total_seconds() if book.crowned else 0.0
        allowed.append(Sample(config.budget * watched / config.budget_period, {"model": book.model}))
    yield Family("afterfit_incidents_total", "counter", "Incidents that were opened.", tuple(total))
    yield _gauge("incidents_open", "Incidents that are open.", open_)
    yield Family(
        "afterfit_false_alarms_allowed_total",
        "counter",
        "Incidents that the budget lets chance alone open since the first champion.",
        tuple(allowed),
    )


def _of_answers(loop: Loop, books: list[Book], now: datetime) -> Iterable[Family]:
    """How good the champions' answers were, in the newest windows that say so."""
    found: dict[str, list[Sample]] = {name: [] for name in ("loss", "coverage", "ended", "estimated")}
    for book in books:
        config, labels = loop.config(book.model), {"model": book.model}
        back = timedelta(seconds=loop.senses.outcomes.maturity(book.model, config, now) + _LOOK_BACK * config.window)
        store = loop.home.store
        for window, _, numbers in reversed(store.windows(book.model, "performance", since=now - back)):
            if "reported_loss" in numbers:
                found["loss"].append(Sample(numbers["reported_loss"], labels))
                found["coverage"].append(Sample(numbers["labelled"] / numbers["n"], labels))
                found["ended"].append(Sample(window.end.timestamp(), labels))
                break
        for _, _, numbers in reversed(store.windows(book.model, "drift", since=now - back)):
            if "estimated_loss" in numbers:
                found["estimated"].append(Sample(numbers["estimated_loss"], labels))
                break
    yield _gauge("realised_loss", "Loss of the answers of the newest window with mature outcomes.", found["loss"])
    yield _gauge("outcome_coverage_ratio", "Share of its rows whose outcome is known.", found["coverage"])
    yield _gauge("realised_window_end_timestamp_seconds", "When that window ended.", found["ended"])
    yield _gauge("estimated_loss", "Estimated loss of the newest window, before outcomes.", found["estimated"])


def _gauge(name: str, help: str, samples: Iterable[Sample]) -> Family:
    return Family(f"afterfit_{name}", "gauge", help, tuple(samples))
