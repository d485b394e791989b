"""Every key of afterfit.toml, one by one: it changes what it should, refuses what it must, and has the default of the page."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from afterfit.config import Config, duration, load, parse
from afterfit.errors import ConfigError

DAY = 86400.0
PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
WHERE = {
    "top": (),
    "model": ("models", "m"),
    "retrain": ("models", "m", "retrain"),
    "rollout": ("models", "m", "rollout"),
}

BASE: dict[str, Any] = {"models": {"m": {"task": "binary"}}}
# where, key, a value that is not the default, what the object then holds
RIGHT: list[tuple[str, str, Any, Any]] = [
    ("top", "home", "elsewhere", Path("elsewhere")),
    ("top", "host", "localhost", "localhost"),
    ("top", "port", 0, 0),
    ("top", "ui_port", 65535, 65535),
    ("top", "tls_certificate", "tls/cert.pem", Path("tls/cert.pem")),
    ("top", "tls_key", "tls/key.pem", Path("tls/key.pem")),
    ("top", "max_body", 1024, 1024),
    ("top", "max_rows", 1, 1),
    ("top", "max_concurrency", 9, 9),
    ("top", "tick", "500s", 500.0),
    ("top", "durability", "fsync", "fsync"),
    ("top", "database", "sqlite:///x.db", "sqlite:///x.db"),
    ("top", "tracking_uri", "sqlite:///y.db", "sqlite:///y.db"),
    ("top", "notify", ["json://a"], ("json://a",)),
    ("model", "task", "regression", "regression"),
    ("model", "train", "my.pack:fit", "my.pack:fit"),
    ("model", "window", "1.5h", 5400.0),
    ("model", "outcome_delay", "2w", 14 * DAY),
    ("model", "segment_by", ["origin", "carrier", "origin"], ("origin", "carrier")),
    ("model", "lane", "python", "python"),
    ("model", "deadline", "30s", 30.0),
    ("model", "fallback", "prior", "prior"),
    ("model", "worker_memory", 512, 512.0),
    ("model", "redact", {"name": "drop", "town": "hash"}, {"name": "drop", "town": "hash"}),
    ("retrain", "triggers", ["volume:9", "schedule:1d"], ("volume:9", "schedule:1d")),
    ("retrain", "cooldown", "1d", DAY),
    ("retrain", "recency", "180d", 180 * DAY),
    ("retrain", "holdout", "2d", 2 * DAY),
    ("retrain", "min_rows", 1, 1),
    ("retrain", "time_limit", "5m", 300.0),
    ("rollout", "canary", [], ()),
    ("rollout", "margin", 0.01, 0.01),
    ("rollout", "alpha", 0.1, 0.1),
    ("rollout", "min_pairs", 7, 7),
    ("rollout", "min_requests", 8, 8),
    ("rollout", "deadline", "3d", 3 * DAY),
    ("rollout", "on_no_data", "rollback", "rollback"),
    ("rollout", "approval", True, True),
    ("rollout", "holdback", 0.2, 0.2),
    ("rollout", "timeout", "2s", 2.0),
]
WRONG: dict[tuple[str, str], list[Any]] = {
    ("top", "home"): [3, ["a"]],
    ("top", "host"): [1, None],
    ("top", "tls_certificate"): [1, True],
    ("top", "tls_key"): [1, True],
    ("top", "max_body"): [0, 1025, "8 MiB", True, 0.5],
    ("top", "max_rows"): [0, 1_000_001, "all", True],
    ("top", "max_concurrency"): [0, -1, "all", True],
    ("top", "port"): ["x", -1, 65536, True, 8600.0],
    ("top", "ui_port"): ["x", -1, 65536, True],
    ("top", "tick"): [10, "0s", "-1s", "1 fortnight", ""],
    ("top", "durability"): ["always", 1, None],
    ("top", "database"): [1],
    ("top", "tracking_uri"): [False],
    ("top", "notify"): ["json://a", [1]],
    ("model", "task"): ["clustering", 1, None],
    ("model", "train"): ["fit", "train.fit", ":fit", "train:", 1],
    ("model", "window"): [7, "7", "7 days", "0d"],
    ("model", "false_alarms"): [1, "1", "0 per 90d", "1 per day", "-1 per 90d"],
    ("model", "outcome_delay"): [1, "soon"],
    ("model", "segment_by"): ["origin", [1], 3],
    ("model", "lane"): ["onnx", 1, None],
    ("model", "deadline"): [20, "0s", "1s"],
    ("model", "fallback"): [None, ["prior"], {"prior": 1}],
    ("model", "worker_memory"): [0, -1, "1 GB", True, 0.5],
    ("model", "redact"): [["name"], {"name": "encrypt"}, {"name": 1}, "name"],
    ("retrain", "triggers"): ["drift", [1], ["drift:1"], ["schedule"], ["schedule:0d"], ["volume:0"], ["volume:many"]],
    ("retrain", "cooldown"): [7, "never"],
    ("retrain", "recency"): ["some", 180],
    ("retrain", "holdout"): [1, "0d"],
    ("retrain", "min_rows"): [0, -1, 1.5, True, "1"],
    ("retrain", "time_limit"): [1800, "0s"],
    ("rollout", "canary"): [0.1, [0], [1], [0.2, 0.1], [0.1, 0.1], ["a"], {"a": 1}],
    ("rollout", "margin"): [0, 1, "1", True],
    ("rollout", "alpha"): [0, 0.5, "x", True],
    ("rollout", "min_pairs"): [0, 1.5, True],
    ("rollout", "min_requests"): [0, 1.5, True],
    ("rollout", "deadline"): [14, "0d"],
    ("rollout", "on_no_data"): ["promote", "pass", 1],
    ("rollout", "approval"): ["yes", 1, 0],
    ("rollout", "holdback"): [0, 0.5, "x", True],
    ("rollout", "timeout"): [1, "0s"],
}
PAIRS = {"tls_certificate": "tls_key", "tls_key": "tls_certificate"}  # one is nothing without the other


def table(where: str, key: str, value: Any) -> dict[str, Any]:
    """The tables of a file with one key set, beside the required ones."""
    data: dict[str, Any] = {"models": {"m": {"task": "binary", "retrain": {}, "rollout": {}}}}
    place = data
    for name in WHERE[where]:
        place = place[name]
    place[key] = value
    if key in PAIRS:
        place.setdefault(PAIRS[key], "other.pem")
    return data


def part(config: Config, where: str) -> Any:
    model = config.model("m")
    return {"top": config, "model": model, "retrain": model.retrain, "rollout": model.rollout}[where]


def documented() -> dict[tuple[str, str], str]:
    """(where, key) -> the default that docs/configuration.md names."""
    found, where = {}, ""
    headings = {"## Top level": "top", "`[models.NAME]`": "model", "NAME.retrain": "retrain", "NAME.rollout": "rollout"}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            (where,) = [place for text, place in headings.items() if text in line]
        elif match := re.match(r"\| `(\w+)` \| (.+?) \|", line):
            found[where, match[1]] = match[2].strip("`")
    return found


def test_no_key_is_left_out() -> None:
    right = {(where, key) for where, key, _, _ in RIGHT} | {("model", "false_alarms")}
    assert right == WRONG.keys() == documented().keys()


@pytest.mark.parametrize(("where", "key", "value", "held"), RIGHT, ids=[f"{r[0]}-{r[1]}" for r in RIGHT])
def test_a_key_changes_its_field_and_no_other(where: str, key: str, value: Any, held: Any) -> None:
    before, after = (
        parse(table(where, "task", "binary") if where == "model" else BASE),
        parse(table(where, key, value)),
    )
    old, new = part(before, where), part(after, where)
    changed = {f.name for f in dataclasses.fields(new) if getattr(old, f.name) != getattr(new, f.name)}
    assert changed - {"models", PAIRS.get(key)} == {key}
    assert getattr(new, key) == held


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [(where, key, value) for (where, key), values in WRONG.items() for value in values],
    ids=str,
)
def test_a_wrong_value_names_the_key_and_what_was_found(where: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(table(where, key, value))
    told = str(caught.value)
    assert key in told
    assert "wanted" in told or "known" in told or "must be larger" in told
    if where != "top":
        assert "[models.m" in told


@pytest.mark.parametrize("where", WHERE)
def test_an_unknown_key_lists_all_known_ones_of_its_table(where: str) -> None:
    with pytest.raises(ConfigError, match="unknown key 'zzz'") as caught:
        parse(table(where, "zzz", 1))
    known = {key for place, key in documented() if place == where}
    assert {key for key in known if f"'{key}'" not in str(caught.value)} == set()


@pytest.mark.parametrize(("where", "key"), sorted(documented().keys() - {("model", "task")}), ids=str)
def test_the_page_names_the_default_in_force(where: str, key: str) -> None:
    said = documented()[where, key]
    default = parse(BASE)
    if said == "none":
        assert getattr(part(default, where), key) is None
        return
    written = parse(table(where, key, tomllib.loads(f"x = {said}")["x"]))
    assert part(written, where) == part(default, where)


@pytest.mark.parametrize(
    ("key", "text", "held"),
    [
        ("home", "e", Path("e")),
        ("host", "::1", "::1"),
        ("port", "7", 7),
        ("ui_port", "8", 8),
        ("tick", "1m", 60.0),
        ("database", "sqlite://", "sqlite://"),
        ("tracking_uri", "sqlite://", "sqlite://"),
        ("notify", "json://a,json://b", ("json://a", "json://b")),
        ("max_body", "7", 7),
        ("max_rows", "8", 8),
        ("max_concurrency", "10", 10),
    ],
)
def test_the_environment_wins_for_every_key_of_the_first_table(key: str, text: str, held: Any) -> None:
    (value,) = [value for where, known, value, _ in RIGHT if (where, known) == ("top", key)]
    config = parse({key: value}, environ={f"AFTERFIT_{key.upper()}": text, "AFTERFIT_OTHER": "ignored"})
    assert getattr(config, key) == held


@pytest.mark.parametrize(("one", "other"), PAIRS.items())
def test_certificate_and_key_come_together(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"{one} is set and {other} is not: wanted both"):
        parse({one: "x.pem"})
    files = {f"AFTERFIT_{key.upper()}": f"{key}.pem" for key in PAIRS}
    config = parse({}, root=Path("folder"), environ=files)
    assert (config.tls_certificate, config.tls_key) == (Path("folder/tls_certificate.pem"), Path("folder/tls_key.pem"))


def test_a_wrong_variable_is_told_like_a_wrong_key() -> None:
    with pytest.raises(ConfigError, match="port = 'x': wanted a port number"):
        parse({}, environ={"AFTERFIT_PORT": "x"})


@pytest.mark.parametrize(
    "data", [{"models": []}, {"models": {"m": 1}}, {"models": {"m": {"task": "binary", "rollout": 1}}}]
)
def test_a_table_that_is_no_table_is_told(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="wanted dict"):
        parse(data)


def test_a_missing_file_gives_the_defaults_under_its_folder(tmp_path: Path) -> None:
    config = load(tmp_path / "afterfit.toml")
    assert (config.home, config.root, dict(config.models)) == (tmp_path / ".afterfit", tmp_path, {})


def test_an_absolute_home_stays(tmp_path: Path) -> None:
    assert parse({"home": str(tmp_path)}, root=Path("elsewhere")).home == tmp_path


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("2m", 120), ("1.5h", 5400), ("1d", DAY), (" 1 w ", 7 * DAY)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text, "k") == seconds


def test_the_configuration_is_frozen() -> None:
    config = parse(BASE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.models["n"] = config.model("m")  # type: ignore[index]


def test_a_deadline_leaves_time_for_another_version() -> None:
    model = {"task": "binary", "deadline": "3s", "rollout": {"timeout": "1.6s"}}
    with pytest.raises(ConfigError, match=r"deadline = 3 s, and one version may take timeout = 1\.6 s"):
        parse({"models": {"m": model}})


@pytest.mark.parametrize(
    ("task", "value"), [("regression", "high"), ("regression", True), ("regression", float("nan"))]
)
def test_a_fallback_fits_the_task(task: str, value: Any) -> None:
    assert parse({"models": {"m": {"task": "binary", "fallback": "high"}}}).model("m").fallback == "high"
    with pytest.raises(ConfigError, match="wanted none, prior, last, or a finite number"):
        parse({"models": {"m": {"task": task, "fallback": value}}})
