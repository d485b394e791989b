"""Errors teach: what was wanted, what was found, what is known; each refines a builtin that callers may catch."""

from __future__ import annotations

import inspect
import pickle

import pytest

from afterfit import errors
from afterfit.errors import AfterfitError, UnknownNameError, list_known

TREE: dict[str, type[Exception]] = {
    "AfterfitError": Exception,
    "ConfigError": ValueError,
    "InputError": ValueError,
    "DuplicateError": ValueError,
    "UnknownNameError": LookupError,
    "LifecycleError": RuntimeError,
    "StoreError": RuntimeError,
    "ConflictError": RuntimeError,
    "JobError": RuntimeError,
    "WorkerError": RuntimeError,
    "SetupError": RuntimeError,
}
CLASSES: dict[str, type[Exception]] = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, AfterfitError)
}


def test_the_tree_is_the_one_that_is_written_down() -> None:
    assert CLASSES.keys() == TREE.keys()
    for name, builtin in TREE.items():
        assert issubclass(CLASSES[name], AfterfitError)
        assert issubclass(CLASSES[name], builtin)


@pytest.mark.parametrize("name", sorted(TREE))
def test_the_drawing_at_the_head_shows_every_error(name: str) -> None:
    assert name in (errors.__doc__ or "")


def test_no_error_knows_http() -> None:
    source = inspect.getsource(errors).replace(errors.__doc__ or "", "")
    assert not any(word in source for word in ("status", "404", "422", "503"))


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    error = UnknownNameError("model", "flihgt", ["flight", "fraud"])
    assert str(error) == "unknown model 'flihgt'; known: 'flight', 'fraud'. Did you mean 'flight'?"
    assert (error.found, error.known) == ("flihgt", ("flight", "fraud"))


def test_known_names_may_come_from_an_iterator() -> None:
    assert UnknownNameError("metric", "x", (name for name in ("auc", "brier"))).known == ("auc", "brier")


def test_nothing_known_and_nothing_near() -> None:
    assert list_known("a", []) == "none is known yet"
    assert list_known("zzz", ["brier"]) == "known: 'brier'"


@pytest.mark.parametrize("name", sorted(TREE.keys() - {"UnknownNameError"}))
def test_an_error_survives_the_way_between_processes(name: str) -> None:
    again = pickle.loads(pickle.dumps(CLASSES[name]("told")))
    assert type(again) is CLASSES[name]
    assert str(again) == "told"
