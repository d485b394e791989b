"""The contracts of pyproject.toml hold, and a broad `except` says why it is there."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
BROAD = {"Exception", "BaseException"}


def test_the_arrows_point_down() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    said = " ".join(result.stdout.split())  # it wraps its lines to the terminal
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken" in said
    for contract in CONTRACTS:
        assert f"{contract['name']} KEPT" in said


def test_a_new_module_must_be_placed() -> None:
    (layers,) = [c for c in CONTRACTS if c["type"] == "layers"]
    assert layers["exhaustive"] is True
    assert "exhaustive_ignores" not in layers


def reasonless(source: str) -> list[int]:
    """Lines of handlers that catch everything, neither raise at their end nor give a reason on their line."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler) or isinstance(node.body[-1], ast.Raise):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if node.type is not None and not any(isinstance(c, ast.Name) and c.id in BROAD for c in caught):
            continue
        reason = lines[node.lineno - 1].partition("# noqa: BLE001")[2].strip(" -:")
        if len(reason.split()) < 3:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_a_broad_except_says_why(path: Path) -> None:
    assert reasonless(path.read_text(encoding="utf-8")) == []


def test_the_search_for_broad_excepts_finds_them() -> None:
    head = "try:\n    f()\n"
    assert reasonless(head + "except Exception:\n    pass\n") == [3]
    assert reasonless(head + "except:\n    pass\n") == [3]
    assert reasonless(head + "except (OSError, BaseException):\n    pass\n") == [3]
    assert reasonless(head + "except Exception:  # noqa: BLE001\n    pass\n") == [3]
    assert reasonless(head + "except Exception:  # noqa: BLE001  a plug-in may raise anything\n    pass\n") == []
    assert reasonless(head + "except Exception:\n    g()\n    raise\n") == []
    assert reasonless(head + "except OSError:\n    pass\n") == []
