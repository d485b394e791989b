"""The contract of the control store, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from afterfit.adapters.control_store import ControlStore
from afterfit.adapters.ledger_chain import entry_hash
from afterfit.errors import ConflictError, InputError, StoreError, UnknownNameError
from afterfit.ports import Ledger, Monitor, Versions
from afterfit.records import Feature, Finding, Incident, ModelVersion, Severity, Task, Window
from tests.adapters.control_store_kit import T0, add, run_together

DAY = timedelta(days=1)


def version(number: int = 1, **changes: Any) -> ModelVersion:
    made = ModelVersion(
        model="flight", version=number, task=Task.MULTICLASS, created_at=T0, folder="models/flight/1",
        uri="models:/flight/1", run_id=None, model_sha256="ab", data_sha256="cd", n_rows=1000,
        features=(Feature("carrier", "text", "category", True, ("AA", "UA")), Feature("a b", "number", "float64")),
        classes=("late", 1, 1.0, True, None), params={"depth": 3, "grid": [1, 2.5], "deep": {"é": None}},
        metrics={"holdout_loss": 0.1 + 0.2, "worst": float("inf")}, data_from=T0 - 90 * DAY, data_to=T0,
    )  # fmt: skip
    return replace(made, **changes)


def finding(column: str = "temp", **changes: Any) -> Finding:
    made = Finding(column, "unit", "scale", 12.5, 0.7, 1e-300, 3.0, True, Severity.CRITICAL, "°F to °C", 1000, 50)
    return replace(made, **changes)


INCIDENT = Incident(
    id="i1", model="flight", kind="quality", opened_at=T0, updated_at=T0, severity=Severity.WARNING, title="temp: unit",
    columns=("temp", "wind"), checks=("unit",), messages=("°F to °C",), version=1,
)  # fmt: skip


class TestLedger:
    def test_it_fills_the_ports(self, store: ControlStore) -> None:
        ports: tuple[Ledger, Versions, Monitor] = (store, store, store)  # mypy compares the signatures
        assert all(port is store for port in ports)

    def test_an_entry_comes_back_as_it_was_returned(self, store: ControlStore) -> None:
        local = T0.astimezone(timezone(timedelta(hours=-4)))
        data = {"text": "naïve \x00 ☃", "list": [1, 2.5, None, True], "deep": {"b": 1, "a": {}}, "whole": 1.0}
        entry = add(store, at=local, data=data)
        assert store.entries() == [entry]
        assert (entry.number, entry.model, entry.kind, entry.name) == (1, "flight", "event", "trained")
        assert entry.at == T0
        assert entry.at.tzinfo is UTC
        assert entry.data == data
        assert isinstance(entry.data["whole"], float)

    def test_data_may_hold_what_decisions_are_made_of(self, store: ControlStore) -> None:
        data = {"reasons": ("a", "b"), "e": float("inf"), "loss": np.float64(0.25), "n": np.int64(3), "at": T0}
        entry = add(store, data=MappingProxyType(data))
        assert entry.data == {
            "reasons": ["a", "b"], "e": float("inf"), "loss": 0.25, "n": 3, "at": "2013-07-15T12:30:00.123457+00:00",
        }  # fmt: skip
        assert store.entries() == [entry]
        assert store.verify() == []

    def test_numbers_are_dense_over_all_models_and_the_hashes_make_a_chain(self, store: ControlStore) -> None:
        made = [add(store, model=model) for model in ("flight", "fraud", "flight", "churn")]
        assert [entry.number for entry in made] == [1, 2, 3, 4]
        assert [entry.previous for entry in made] == ["0" * 64, *(entry.hash for entry in made[:-1])]
        assert [entry.hash for entry in made] == [entry_hash(entry) for entry in made]
        assert store.verify() == []

    def test_ids_made_here_are_unique_and_ordered(self, store: ControlStore) -> None:
        ids = [add(store).id for _ in range(5)]
        assert len(set(ids)) == 5
        assert ids == sorted(ids)

    def test_filters(self, store: ControlStore) -> None:
        for model, kind in (("flight", "event"), ("fraud", "event"), ("flight", "done"), ("flight", "event")):
            add(store, model=model, kind=kind)

        def numbers(**given: Any) -> list[int]:
            return [entry.number for entry in store.entries(**given)]

        assert numbers() == [1, 2, 3, 4]
        assert numbers(model="flight") == [1, 3, 4]
        assert numbers(after=2) == [3, 4]
        assert numbers(kind="event") == [1, 2, 4]
        assert numbers(model="flight", after=1, kind="event") == [4]
        assert numbers(model="nobody") == []

    def test_the_same_id_gives_the_entry_that_is_there(self, store: ControlStore) -> None:
        first = add(store, id="e1")
        add(store)
        again = add(store, id="e1", name="else", data={}, expected=0)  # not even a stale `expected` matters
        assert again == first
        assert len(store.entries()) == 2

    def test_expected_counts_entries_of_the_same_model_only(self, store: ControlStore) -> None:
        first = add(store, expected=0)
        add(store, model="fraud", expected=0)
        assert add(store, expected=first.number).number == 3

    def test_a_conflict_writes_nothing(self, store: ControlStore) -> None:
        add(store)
        add(store)
        with pytest.raises(ConflictError, match=r"newest entry of 'flight' is 2, the caller had seen 1"):
            add(store, expected=1)
        assert len(store.entries()) == 2
        assert add(store).number == 3
        assert store.verify() == []

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"kind": "rumour"}, "'rumour'.*wanted one of event, fact, done"),
            ({"at": datetime(2013, 1, 1)}, "no time zone"),
            ({"data": {"x": object()}}, "builtins.object"),
            ({"data": {"x": {"y": datetime(2013, 1, 1)}}}, "no time zone"),
        ],
    )
    def test_what_cannot_be_kept_is_refused(self, store: ControlStore, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            add(store, **changes)
        assert store.entries() == []
        assert add(store).number == 1

    def test_two_processes_append_at_once(self, url: str) -> None:
        """Both open the empty database, at the same time, too."""
        run_together(url, "flight", "fraud")
        with ControlStore(url) as store:
            entries = store.entries()
            assert [entry.number for entry in entries] == list(range(1, 201))
            for model in ("flight", "fraud"):
                assert [entry.data["i"] for entry in entries if entry.model == model] == list(range(100))
            assert store.verify() == []

    def test_of_writers_with_the_same_expectation_one_wins(self, store: ControlStore) -> None:
        barrier, outcomes = threading.Barrier(8), []

        def write() -> None:
            barrier.wait()
            try:
                outcomes.append(add(store, expected=0).number)
            except ConflictError:
                outcomes.append(0)

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [0] * 7 + [1]
        assert len(store.entries()) == 1

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("UPDATE ledger SET data = '{\"version\":3}' WHERE number = 3", ["entry 3 was changed"]),
            ("UPDATE ledger SET actor = 'person:eve' WHERE number = 5", ["entry 5 was changed"]),
            ("UPDATE ledger SET at = '2013-07-15T12:30:00.123458+00:00' WHERE number = 1", ["entry 1 was changed"]),
            ("UPDATE ledger SET at = 'soon' WHERE number = 2", ["entry 2 .* can't be read"]),
            ("UPDATE ledger SET at = '2013-07-15T12:30:00' WHERE number = 2", ["entry 2 .* can't be read.*time zone"]),
            ("UPDATE ledger SET data = '{' WHERE number = 2", ["entry 2 .* can't be read"]),
            ("DELETE FROM ledger WHERE number = 3", ["entry 3 is missing"]),
            ("DELETE FROM ledger WHERE number IN (1, 2)", ["entries 1 to 2 are missing"]),
            ("DELETE FROM ledger WHERE number >= 4", ["entries 4 to 5 are missing"]),
            ("DELETE FROM ledger", ["entries 1 to 5 are missing"]),
            (
                "UPDATE ledger SET previous = 'x' WHERE number = 4",
                ["entry 4 does not link to entry 3", "4 was changed"],
            ),
            (
                "UPDATE ledger SET hash = 'x' WHERE number = 2",
                ["entry 2 was changed", "entry 3 does not link to entry 2"],
            ),
            ("UPDATE ledger SET hash = 'x' WHERE number = 5", ["entry 5 was changed", "entry 5 is not the one"]),
            ("UPDATE ledger SET number = 0 WHERE number = 1", ["entry 0 does not belong", "entry 1 is missing"]),
            (
                "UPDATE ledger SET number = 9 WHERE number = 5",
                ["entries 5 to 8 are missing", "9 was changed", "entry 9 is"],
            ),
            ("DELETE FROM ledger_head", ["the head of the ledger is missing"]),
        ],
    )
    def test_tampering_is_named(
        self, store: ControlStore, execute: Callable[[str], None], statement: str, words: list[str]
    ) -> None:
        for _ in range(5):
            add(store)
        assert store.verify() == []
        execute(statement)
        problems = store.verify()
        assert len(problems) == len(words), problems
        for problem, word in zip(problems, words, strict=True):
            assert re.search(word, problem), problem

    def test_a_forger_who_mends_the_hash_breaks_the_next_link(
        self, store: ControlStore, execute: Callable[[str], None]
    ) -> None:
        made = [add(store) for _ in range(3)]
        forged = entry_hash(replace(made[1], actor="person:eve"))
        execute(f"UPDATE ledger SET actor = 'person:eve', hash = '{forged}' WHERE number = 2")
        problems = store.verify()
        assert len(problems) == 1
        assert "entry 3 does not link to entry 2" in problems[0]

    def test_a_spoiled_entry_is_not_read_as_if_nothing_were(
        self, store: ControlStore, execute: Callable[[str], None]
    ) -> None:
        add(store)
        execute("UPDATE ledger SET data = '[1]' WHERE number = 1")
        with pytest.raises(StoreError, match=r"entry 1 of the ledger can't be read.*backup"):
            store.entries()

    def test_nothing_is_added_to_a_ledger_that_disagrees_with_its_head(
        self, store: ControlStore, execute: Callable[[str], None]
    ) -> None:
        add(store)
        add(store)
        execute("UPDATE ledger_head SET number = 1")
        with pytest.raises(StoreError, match=r"afterfit doctor"):
            add(store)
        execute("DELETE FROM ledger_head")
        with pytest.raises(StoreError, match=r"head of the ledger is missing"):
            add(store)
        assert len(store.entries()) == 2


class TestVersions:
    def test_a_version_comes_back_exactly(self, store: ControlStore) -> None:
        store.add_version(version())
        found = store.version("flight", 1)
        assert found == version()
        assert [type(value) for value in found.classes or ()] == [str, int, float, bool, type(None)]
        assert isinstance(found.task, Task)
        assert isinstance(found.features[0], Feature)
        assert found.created_at.tzinfo is UTC

    def test_the_same_record_again_does_nothing(self, store: ControlStore) -> None:
        store.add_version(version(loss_scale=1.0))
        store.add_version(version(loss_scale=1))
        store.add_version(store.version("flight", 1))
        assert store.versions("flight") == [version()]

    def test_another_record_under_the_number_is_refused(self, store: ControlStore) -> None:
        store.add_version(version())
        with pytest.raises(StoreError, match=r"version 1 of 'flight'.*n_rows is 1000, now 7.*register a new one"):
            store.add_version(version(n_rows=7))
        assert store.version("flight", 1).n_rows == 1000

    def test_lists_are_ordered(self, store: ControlStore) -> None:
        for number in (10, 9, 2):
            store.add_version(version(number))
        store.add_version(version(1, model="a"))
        assert [record.version for record in store.versions("flight")] == [2, 9, 10]
        assert store.models() == ["a", "flight"]
        assert store.versions("nobody") == []

    def test_unknown_names_list_the_known(self, store: ControlStore) -> None:
        with pytest.raises(UnknownNameError, match="none is known yet"):
            store.version("flight", 1)
        store.add_version(version(3))
        with pytest.raises(UnknownNameError, match=r"unknown version of 'flight' '4'; known: '3'"):
            store.version("flight", 4)
        with pytest.raises(UnknownNameError, match=r"unknown model 'flihgt'; known: 'flight'"):
            store.version("flihgt", 3)

    def test_a_spoiled_record_is_named(self, store: ControlStore, execute: Callable[[str], None]) -> None:
        store.add_version(version())
        execute("UPDATE versions SET record = '{\"model\": 1}'")
        with pytest.raises(StoreError, match=r"version 1 of 'flight' can't be read"):
            store.versions("flight")


class TestMonitor:
    def test_a_window_is_remembered_once(self, store: ControlStore) -> None:
        window = Window(T0, T0 + DAY)
        numbers = {"rows": 50.0, "loss": 0.1 + 0.2}
        assert store.add_window("flight", "data", window, [finding(), finding("wind")], numbers)
        assert not store.add_window("flight", "data", Window(T0, T0 + 2 * DAY), [], {})
        assert store.add_window("flight", "performance", window, [], {})
        assert store.add_window("fraud", "data", window, [], {})
        assert store.windows("flight", "data") == [(window, [finding(), finding("wind")], numbers)]
        assert store.windows("flight", "performance") == [(window, [], {})]

    def test_numbers_that_could_not_be_computed_survive(self, store: ControlStore) -> None:
        odd = finding(statistic=float("nan"), distance=float("inf"), p_value=np.float64(0.5))
        store.add_window("flight", "data", Window(T0, T0 + DAY), [odd], {"loss": float("nan"), "n": -float("inf")})
        ((_, (found,), numbers),) = store.windows("flight", "data")
        assert np.isnan(found.statistic)
        assert (found.distance, found.p_value) == (float("inf"), 0.5)
        assert np.isnan(numbers["loss"])
        assert numbers["n"] == -float("inf")

    def test_windows_are_ordered_and_since_includes_its_moment(self, store: ControlStore) -> None:
        starts = [T0, T0 + timedelta(microseconds=1), T0 - DAY, datetime(2013, 7, 15, 12, 30, tzinfo=UTC)]
        for start in starts:
            store.add_window("flight", "data", Window(start, start + DAY), [], {})
        found = [window.start for window, _, _ in store.windows("flight", "data")]
        assert found == sorted(starts)
        since = T0.astimezone(timezone(timedelta(hours=9)))
        assert [w.start for w, _, _ in store.windows("flight", "data", since=since)] == [T0, starts[1]]

    def test_a_spoiled_window_is_named(self, store: ControlStore, execute: Callable[[str], None]) -> None:
        store.add_window("flight", "data", Window(T0, T0 + DAY), [], {})
        execute("UPDATE windows SET window_end = 'soon'")
        with pytest.raises(StoreError, match=r"window of 'flight' from 2013-07-15T12:30.* can't be read"):
            store.windows("flight", "data")

    def test_incidents_are_replaced_by_id(self, store: ControlStore) -> None:
        later = replace(INCIDENT, id="i0", opened_at=T0 + DAY, severity=Severity.CRITICAL)
        other = replace(INCIDENT, id="i2", model="fraud", opened_at=T0 - DAY)
        for incident in (later, INCIDENT, other):
            store.save_incident(incident)
        assert store.incidents() == [other, INCIDENT, later]
        closed = replace(INCIDENT, closed_at=T0 + 2 * DAY, updated_at=T0 + 2 * DAY, quiet_windows=2, columns=("temp",))
        store.save_incident(closed)
        assert store.incidents("flight") == [closed, later]
        assert store.incidents("flight", open_only=True) == [later]
        store.save_incident(INCIDENT)  # opened again
        assert store.incidents("flight", open_only=True) == [INCIDENT, later]
