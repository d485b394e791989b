"""What docs/extending.md shows runs as it stands, and finds what the page says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
LAWS = """
TestMannWhitney.pairs = 50
for law in dir(TestMannWhitney):
    if law.startswith("test_"):
        getattr(TestMannWhitney(), law)()
"""


def test_the_examples_run(tmp_path: Path) -> None:
    if importlib.util.find_spec("river") is None:
        pytest.skip("needs River: pip install 'afterfit[river]'")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    code = "\n".join([blocks[0], blocks[1], LAWS, blocks[2]])
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "extension - x: Mann-Whitney finds a change" in result.stdout
    assert "LossDetector True" in result.stdout
    assert "RiverDetector True" in result.stdout
