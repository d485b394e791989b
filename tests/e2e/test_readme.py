"""The README's ten lines and the commands beneath them, as a new user copies them into a fresh folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_up import AFTERFIT, free_port, lists
from tests.world import wait_for

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """The one block of code that holds a text."""
    found: str
    (found,) = (code for code in re.findall(rf"```{language}\n(.*?)```", README, flags=re.S) if holding in code)
    return found


@pytest.mark.timeout(240)
def test_ten_lines_and_what_is_beneath_them(tmp_path: Path) -> None:
    code = block("python", "af.register")
    assert len(code.strip().splitlines()) <= 11  # ten lines and an empty one
    registered = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert registered.returncode == 0, registered.stderr
    assert "version 1: held-out loss 0.0" in registered.stdout
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "AFTERFIT_PORT": str(port), "AFTERFIT_TICK": "1s", "PATH": path}
    up = subprocess.Popen([*AFTERFIT, "up"], cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: lists(f"http://127.0.0.1:{port}", "tumour"), 60, "the model did not go live")
        ask, tell, look = block("bash", "/predict").replace("localhost:8600", f"127.0.0.1:{port}").splitlines()
        id = json.loads(_shell(tmp_path, ask, environ))["predictions"][0]["id"]
        assert json.loads(_shell(tmp_path, tell.replace("ID", id), environ)) == {"results": [{"status": "stored"}]}
        assert "version 1 is champion" in _shell(tmp_path, look, environ)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def _shell(folder: Path, line: str, environ: dict[str, str]) -> str:
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
