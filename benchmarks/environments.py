"""A virtual environment of its own for each peer, since their pins clash; made once, in a cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def cache() -> Path:
    """Where data and environments of the benchmarks are kept: $AFTERFIT_BENCH_CACHE, or ~/.cache/afterfit-benchmarks."""
    folder = Path(os.environ.get("AFTERFIT_BENCH_CACHE", Path.home() / ".cache" / "afterfit-benchmarks"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def python_with(name: str, *packages: str) -> Path:
    """The interpreter of the environment `name`, with these packages installed.

    Raises:
        RuntimeError: pip could not install them; its last lines are in the message.
    """
    folder = cache() / name
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if done.exists() and done.read_text(encoding="utf-8") == "\n".join(packages):
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    result = subprocess.run(pip, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{name}: pip install {' '.join(packages)} failed: {result.stderr.strip()[-800:]}")
    done.write_text("\n".join(packages), encoding="utf-8")
    return python
