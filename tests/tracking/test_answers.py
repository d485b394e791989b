"""Why this version, and who was live when: answers from made-up ledgers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from afterfit.lifecycle import Happening
from afterfit.records import Entry, Feature, ModelVersion, Task
from afterfit.tracking.answers import who_was_live, why

Line = tuple[float, str, Mapping[str, Any]]

H = Happening
START = datetime(2013, 3, 1, 5, tzinfo=UTC)


def day(n: float) -> datetime:
    return START + timedelta(days=n)


def version(number: int, **more: Any) -> ModelVersion:
    values: dict[str, Any] = {
        "model": "flight-delay",
        "version": number,
        "task": Task.BINARY,
        "created_at": day(0),
        "folder": "",
        "uri": f"models:/flight-delay/{number}",
        "run_id": "r",
        "model_sha256": "m" * 64,
        "data_sha256": f"{number}" * 64,
        "n_rows": 40_000 + number,
        "features": (Feature("temp", "number", "float64"),),
        "classes": (0, 1),
        "params": {"model__learning_rate": 0.08},
        "metrics": {"holdout_loss": 0.1432, "baseline_loss": 0.18, "holdout_n": 5000.0, "holdout_loss_sd": 0.1},
        "data_from": day(-59),
        "data_to": day(-7),
    }
    return ModelVersion(**values | more)


def ledger(*lines: Line, actor: str = "controller") -> list[Entry]:
    return [
        Entry(
            number=i + 1,
            id=f"e{i + 1}",
            at=day(at),
            model="flight-delay",
            kind="event" if isinstance(name, H) else "fact",
            name=str(name),
            actor="person:ann" if name in (H.ROLLBACK_ASKED, H.PROMOTED) else actor,
            data=data,
            previous="",
            hash="",
        )
        for i, (at, name, data) in enumerate(lines)
    ]


def verdict(*reasons: str, **numbers: float) -> dict[str, Any]:
    return {"verdict": {"outlook": "pass", "reasons": list(reasons), "numbers": numbers}}


FIRST: list[Line] = [
    (0, "registered", {"version": 1}),
    (0.1, H.DEPLOYED, {"version": 1, "why": "the first version registered"}),
    (0.2, H.GATE_PASSED, verdict("better than the baseline", gain=0.04)),
]
RETRAINED: list[Line] = [
    *FIRST,
    (31, H.RETRAIN_STARTED, {"why": "schedule: 30 days are over"}),
    (31.1, "registered", {"version": 2}),
    (31.2, H.TRAINED, {"version": 2}),
    (31.3, H.GATE_PASSED, verdict("not worse on 900 rows")),
    (33, H.SHADOW_PASSED, {"weight": 0.05, **verdict("same errors")}),
    (36, H.LAST_STEP_PASSED, {"weight": 0.95, **verdict("no harm")}),
]
PROMOTED: list[Line] = [*RETRAINED, (40, H.CONFIRMED, {"version": 2, **verdict("outcomes are in")})]
VERSIONS = [version(1), version(2)]


def test_the_chain_leads_from_registration_to_the_crown() -> None:
    found = why(ledger(*PROMOTED), VERSIONS)
    assert (found.version, found.since, found.phase) == (2, day(40), "serving")
    assert [(link.name, link.at) for link in found.why] == [
        ("retrain_started", day(31)),
        ("registered", day(31.1)),
        ("trained", day(31.2)),
        ("gate_passed", day(31.3)),
        ("shadow_passed", day(33)),
        ("last_step_passed", day(36)),
        ("confirmed", day(40)),
    ]
    assert found.why[0].why == "schedule: 30 days are over"
    assert found.why[3].why == "not worse on 900 rows"
    assert found.params == {"model__learning_rate": 0.08}
    assert (found.data["sha256"], found.data["rows"], found.data["to"]) == ("2" * 64, 40_002, day(-7))
    assert found.evaluation["holdout_loss"] == 0.1432
    assert found.last_retrained == {"at": day(31.2), "version": 2, "why": "schedule: 30 days are over"}
    assert found.rollback["version"] == 1
    assert found.until is None


def test_the_first_version_has_no_training_and_no_way_back() -> None:
    found = why(ledger(*FIRST), VERSIONS)
    assert [link.name for link in found.why] == ["registered", "deployed", "gate_passed"]
    assert found.why[-1].numbers == {"gain": 0.04}
    assert found.last_retrained is None
    assert found.rollback["version"] is None


def test_a_rollout_under_way_is_told_and_a_rollback_would_drop_the_candidate() -> None:
    found = why(ledger(*RETRAINED), VERSIONS)
    assert (found.version, found.since, found.phase) == (1, day(0.2), "provisional")
    assert found.weights == {1: 1 - 0.95, 2: 0.95}
    assert found.rollback["version"] == 1
    assert "drop candidate 2" in found.rollback["what"]


def test_who_was_live_knows_nothing_of_what_came_later() -> None:
    entries = ledger(*PROMOTED)
    at_20 = who_was_live(entries, VERSIONS, day(20))
    assert (at_20.version, at_20.since, at_20.until) == (1, day(0.2), day(40))
    assert at_20.last_retrained is None
    assert at_20.weights == {1: 1.0}
    at_34 = who_was_live(entries, VERSIONS, day(34))
    assert (at_34.version, at_34.phase) == (1, "canary")
    assert at_34.weights == {1: 0.95, 2: 0.05}
    assert who_was_live(entries, VERSIONS, day(40)).version == 2  # the moment of the event counts
    assert who_was_live(entries, VERSIONS, day(41)).until is None


def test_before_the_first_crown_nothing_was_live() -> None:
    found = who_was_live(ledger(*PROMOTED), VERSIONS, day(-1))
    assert (found.version, found.since, found.until, found.why) == (None, None, day(0.2), ())
    assert "nothing was live" in found.text
    assert "nothing is live" in why([], []).text


def test_a_first_version_that_did_not_pass_its_gate_says_why() -> None:
    failed = (0.2, H.GATE_FAILED, verdict("not shown to be better than a trivial predictor"))
    found = why(ledger(*FIRST[:2], failed), VERSIONS)
    assert (found.version, [link.name for link in found.why]) == (None, ["gate_failed"])
    assert "gate failed: not shown to be better than a trivial predictor" in found.text


def test_after_a_rollback_the_old_way_and_the_reason_are_told() -> None:
    entries = ledger(
        *PROMOTED,
        (50, H.ROLLBACK_ASKED, {"why": "complaints"}),
        (50.1, H.ROLLED_BACK, {"routes": 9}),
    )
    found = why(entries, VERSIONS)
    assert (found.version, found.since) == (1, day(50))
    assert [link.name for link in found.why] == ["registered", "deployed", "gate_passed", "rollback_asked"]
    assert (found.why[-1].why, found.why[-1].actor) == ("complaints", "person:ann")
    assert who_was_live(entries, VERSIONS, day(45)).until == day(50)


def test_an_incident_between_trainings_does_not_end_a_reign() -> None:
    entries = ledger(
        *FIRST, (10, H.RETRAIN_STARTED, {"why": "drift"}), (10.1, H.TRAIN_FAILED, {"why": "it raised"}),
        (12, "incident_opened", {"title": "temp"}),
    )  # fmt: skip
    found = why(entries, VERSIONS)
    assert (found.version, found.since, found.phase) == (1, day(0.2), "serving")
    assert found.last_retrained is None  # a training that gave no version is none


def test_a_persons_promotion_is_one_link() -> None:
    found = why(ledger(*FIRST, (5, H.PROMOTED, {"version": 2, "why": "I know better"})), VERSIONS)
    assert [(link.name, link.actor, link.why) for link in found.why] == [("promoted", "person:ann", "I know better")]


def test_the_text_answers_the_four_questions() -> None:
    text = why(ledger(*PROMOTED), VERSIONS).text
    for words in (
        "flight-delay: version 2 is live, since 2013-04-10 05:00 UTC (serving)",
        "retrain started: schedule: 30 days are over",
        "model__learning_rate = 0.08",
        "40,002 rows of 1 features, 2013-01-01 05:00 UTC to 2013-02-22 05:00 UTC, sha256 2222",
        "holdout_loss 0.1432, baseline_loss 0.18, on 5,000 held-out rows",
        "2013-04-01 09:48 UTC, which gave version 2 (schedule: 30 days are over)",
        "would restore version 1, first champion on 2013-03-01 09:48",
    ):
        assert words in text
    past = who_was_live(ledger(*PROMOTED), VERSIONS, day(34)).text
    assert "version 1 was live at 2013-04-04 05:00 UTC, since 2013-03-01 09:48 UTC until 2013-04-10 05:00 UTC" in past
    assert "(canary; candidate 2 answers 5.0%)" in past


def test_a_version_without_record_is_said_to_have_none() -> None:
    found = why(ledger(*FIRST), [])
    assert found.version == 1
    assert "no record of this version" in found.text
