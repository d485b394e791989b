"""What a model needs to be loaded elsewhere: the user's own code goes into the pickle, everything else is pinned."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

_ALWAYS = ("scikit-learn", "numpy", "scipy", "pandas", "cloudpickle", "mlflow", "mlflow-skinny")
_COVERED = frozenset({"sklearn", "numpy", "scipy", "pandas", "afterfit", "__main__"}) | sys.stdlib_module_names
_INSTALLED = tuple({os.path.realpath(sysconfig.get_path(k)) for k in ("stdlib", "platstdlib", "purelib", "platlib")})


@contextmanager
def own_code_by_value(root: Path) -> Iterator[None]:
    """Pickle the modules under `root` by value meanwhile: `train.py` is not importable where the model is served.

    Installed packages and Afterfit itself stay references.
    """
    ours = [m for m in list(sys.modules.values()) if _is_own(m, os.path.realpath(root))]
    before = set(cloudpickle.list_registry_pickle_by_value())
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            if module.__name__ not in before:
                cloudpickle.unregister_pickle_by_value(module)


def requirements(model: Any) -> list[str]:
    """`name==version` of every distribution the model's classes come from, as installed now."""
    heads = {cls.__module__.partition(".")[0] for part in _parts(model) for cls in type(part).__mro__} - _COVERED
    by_module = metadata.packages_distributions() if heads else {}
    names = {*_ALWAYS, *(name for head in heads for name in by_module.get(head, ()))}
    return sorted(f"{name}=={version}" for name in names if (version := _version(name)) is not None)


def _parts(model: Any) -> list[Any]:
    nested = model.get_params(deep=True) if hasattr(model, "get_params") else getattr(model, "__dict__", {})
    return [model, *nested.values()]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # MLflow comes as `mlflow` or as `mlflow-skinny`


def _is_own(module: Any, root: str) -> bool:
    if not isinstance(module, ModuleType) or sys.modules.get(module.__name__) is not module:
        return False
    file = vars(module).get("__file__")
    if not isinstance(file, str) or module.__name__ == "__main__" or module.__name__.partition(".")[0] == "afterfit":
        return False
    path = os.path.realpath(file)
    return _below(path, root) and not any(_below(path, folder) for folder in _INSTALLED)


def _below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
