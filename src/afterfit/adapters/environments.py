"""The environment of a version: which scikit-learn its pickle needs, and the Python that has it.

A pickle of one scikit-learn is not read by another. A version that was trained under another one than ours is asked in a
process of another interpreter: the one made for it under the home's `environments/`, else the one that registered it.
What trained it is read from its `MLmodel`, which the version's hash covers. `python -m afterfit.adapters.environments
FOLDER` makes the environment of a version's folder from its own `requirements.txt`; the controller does so by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from afterfit.adapters.atomic_file import read_if_there, write_atomic
from afterfit.errors import SetupError, StoreError

LIBRARY = "scikit-learn"
FOREIGN = "AFTERFIT_FOREIGN"  # is set for a worker whose interpreter is not the gateway's
TAG = "python"  # of a version: the interpreter that registered it
OURS = ("msgspec", "pyyaml", "cloudpickle", "numpy", "pandas")  # all that a worker needs beside the model's own
_NEEDLESS = ("mlflow", "mlflow-skinny")  # a scikit-learn model is unpickled without
_OLDEST = (3, 11)
_PATIENCE = 900.0  # seconds for one environment
# Afterfit's own code, and nothing else of the interpreter that serves, is put before the foreign one.
_BOOT = (
    "import importlib.util as u, runpy, sys; package = sys.argv.pop(1); "
    "spec = u.spec_from_file_location('afterfit', package + '/__init__.py', submodule_search_locations=[package]); "
    "sys.modules['afterfit'] = module = u.module_from_spec(spec); spec.loader.exec_module(module); "
    "runpy.run_module('afterfit.gateway.worker', run_name='__main__', alter_sys=True)"
)
_OF_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


def trained_with(model: Path) -> str:
    """The scikit-learn that wrote the pickle in a `model/` folder; empty where none is recorded.

    Raises:
        StoreError: its `MLmodel` can't be read.
    """
    return str((_flavors(model).get("sklearn") or {}).get("sklearn_version") or "")


def misfit(model: Path) -> str:
    """Why this interpreter must not unpickle a version; empty where it may. Releases of one minor version may read
    each other, and the golden rows tell whether the answers are the same."""
    wanted, found = trained_with(model), _installed()
    if not wanted or _minor(wanted) == _minor(found):
        return ""
    return (
        f"it was trained with {LIBRARY} {wanted}, and {sys.executable} has {found or 'none'}: one can't read the pickles "
        f"of the other. {_remedy(model.parent)}"
    )


def note(model: Path) -> str:
    """What a reader of the status should know about the environment of a version; empty where it is ours, exactly."""
    wanted, found = trained_with(model), _installed()
    if not wanted or wanted == found:
        return ""
    return f"trained with {LIBRARY} {wanted}, read by {found}; its golden rows come out the same"


def worker_command(folder: Path) -> list[str]:
    """How the worker of a version's folder is started; its options come after."""
    other = foreign_python(folder)
    if other is None:
        return [sys.executable, "-m", "afterfit.gateway.worker"]
    return [str(other), "-c", _BOOT, str(Path(__file__).parents[1])]


def worker_variables(command: Sequence[str]) -> dict[str, str] | None:
    """The environment variables for that command: a foreign interpreter must not look for modules where ours does."""
    if command[0] == sys.executable:
        return None
    return {name: value for name, value in os.environ.items() if name not in _OF_OURS} | {FOREIGN: "1"}


def foreign_python(folder: Path) -> Path | None:
    """The interpreter of a version that ours can't read; None: ours, which says itself what is wrong where it can't."""
    try:
        if not misfit(folder / "model"):
            return None
    except StoreError:
        return None
    made = python_of(place(folder))
    if made.exists():
        return made
    told = _registered_by(folder)
    return told if told is not None and told.exists() and str(told) != sys.executable else None


def place(folder: Path) -> Path:
    """Where the environment of a version's folder (`<home>/models/<name>/<version>`) is, or would be made.

    Versions with the same needs share one.
    """
    needs = "\n".join([_python_version(folder / "model"), *needs_of(folder / "model")])
    return folder.parents[2] / "environments" / hashlib.sha256(needs.encode()).hexdigest()[:16]


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def needs_of(model: Path) -> list[str]:
    """What is installed for a version: the pins of its `requirements.txt`, and the few packages of a worker."""
    lines = [line.strip() for line in (read_if_there(model / "requirements.txt") or "").splitlines()]
    pins = [line for line in lines if line and not line.startswith(("#", "-")) and _name(line) not in _NEEDLESS]
    wanted = trained_with(model)
    if wanted and not any(_name(pin) == LIBRARY for pin in pins):
        pins.append(f"{LIBRARY}=={wanted}")
    return sorted(pins) + [name for name in OURS if name not in map(_name, pins)]


def make(folder: Path) -> Path:
    """Make the environment of a version, whole or not at all; gives its interpreter. One that is there is kept.

    Raises:
        SetupError: uv is not there, the package index can't be reached, a package does not exist; it is also left beside
            the environment's place, for those who wonder why the version is not served.
    """
    where = place(folder)
    if python_of(where).exists():
        return python_of(where)
    where.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{where.name}-", dir=where.parent))
    try:
        version = _python_version(folder / "model")
        if version and tuple(map(int, version.split("."))) < _OLDEST:
            raise SetupError(
                f"it was trained with Python {version}; a worker needs {'.'.join(map(str, _OLDEST))} or later"
            )
        python = sys.executable if version in ("", f"{sys.version_info.major}.{sys.version_info.minor}") else version
        _uv("venv", "--quiet", "--allow-existing", "--relocatable", "--python", python, str(aside))
        _uv("pip", "install", "--quiet", "--python", str(python_of(aside)), *needs_of(folder / "model"))
        aside.rename(where)
    except (SetupError, OSError) as error:
        if python_of(where).exists():  # somebody else was faster
            return python_of(where)
        write_atomic(_failure(where), f"{error}\n")
        raise SetupError(f"the environment of {folder} can't be made: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _failure(where).unlink(missing_ok=True)
    return python_of(where)


def unmade(folder: Path) -> bool:
    """Whether a version needs an environment that nobody made, and nobody tried to."""
    try:
        return (
            bool(misfit(folder / "model")) and foreign_python(folder) is None and not _failure(place(folder)).exists()
        )
    except StoreError:
        return False


class Maker:
    """Makes the environments that routed versions lack, in a process beside the one that asks, one at a time.

    A worker that was refused looks again by itself (`workers.HOPELESS_PAUSE`).
    """

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, folders: Iterable[Path]) -> list[Path]:
        """Start what is missing, unless something is being made; the folders of the versions it is made for."""
        if self._process is not None and self._process.poll() is None:
            return []
        missing = [folder for folder in folders if unmade(folder)]
        if missing:
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            with self._log_file.open("ab") as out:
                command = [sys.executable, "-m", "afterfit.adapters.environments", *map(str, missing)]
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return missing

    def close(self) -> None:
        """Stop what is being made; the next controller begins it again."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


def _uv(*arguments: str) -> None:
    try:
        command = [_find_uv(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"uv took longer than {_PATIENCE:.0f} s; look at the network, and try again") from error
    if done.returncode:
        raise SetupError(f"uv {arguments[0]} failed: {' '.join(done.stderr.split())[:1000]}")


def _find_uv() -> str:
    try:
        from uv import find_uv_bin
    except ImportError:
        found = shutil.which("uv")
        if found is None:
            raise SetupError("uv, which makes environments, is not installed: pip install uv") from None
        return found
    return find_uv_bin()


def _remedy(folder: Path) -> str:
    again = f"python -m afterfit.adapters.environments {folder}"
    failed = read_if_there(_failure(place(folder)))
    if failed:
        return f"Its environment could not be made: {failed.strip()}. Try again: {again}"
    return f"Its environment is made by the controller, or by: {again}"


def _failure(environment: Path) -> Path:
    return environment.with_name(f"{environment.name}.failed")


def _registered_by(folder: Path) -> Path | None:
    try:
        told = json.loads((folder / "version.json").read_text(encoding="utf-8"))["tags"].get(TAG)
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return Path(told) if told else None


def _flavors(model: Path) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))["flavors"])
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError) as error:
        raise StoreError(f"{model / 'MLmodel'} can't be read: {error}; restore the folder") from error


def _python_version(model: Path) -> str:
    told = str((_flavors(model).get("python_function") or {}).get("python_version") or "")
    return _minor(told)


def _installed() -> str:
    try:
        return metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        return ""


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _name(requirement: str) -> str:
    """The distribution that a requirement names, as the index spells it.

    >>> _name("Scikit_Learn>=1.5"), _name("pandas [all]==2.2 ; python_version > '3'")
    ('scikit-learn', 'pandas')
    """
    for sign in " [<>=!~;@":
        requirement = requirement.partition(sign)[0]
    return requirement.strip().lower().replace("_", "-")


def main() -> int:
    """Make the environments of the folders that are named; the exit code is 1 where one could not be made."""
    code = 0
    for folder in map(Path, sys.argv[1:]):
        try:
            sys.stdout.write(f"{make(folder.resolve())}\n")
        except (SetupError, StoreError) as error:
            sys.stderr.write(f"{error}\n")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
