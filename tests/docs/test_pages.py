"""The pages tell the truth: the diagram follows the table, the settings and commands are all there, examples run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

import pytest

import afterfit
from afterfit.cli import app
from afterfit.config import Config, ModelConfig, RetrainConfig, RolloutConfig
from afterfit.testing.diagram import page

ROOT = Path(__file__).parents[2]
MODULES = sorted(m.name for m in pkgutil.walk_packages(afterfit.__path__, "afterfit."))


def test_the_diagram_follows_the_table() -> None:
    assert (ROOT / "docs" / "lifecycle.md").read_text(encoding="utf-8") == page()


def test_every_setting_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.M))
    known = {f.name for cls in (Config, ModelConfig, RetrainConfig, RolloutConfig) for f in fields(cls)}
    internal = {"root", "models", "name", "budget", "budget_period", "retrain", "rollout"}
    assert documented == known - internal | {"false_alarms"}


def test_every_command_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {match for row in rows for match in re.findall(r"`([a-z][a-z-]*)[^`]*`", row)}
    named = [c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands]
    groups = [group.name for group in app.registered_groups if group.name]
    assert documented == {name.replace("_", "-") for name in [*named, *groups]}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0
