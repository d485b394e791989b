"""The house stays the house: arrows point down, the core is pure, importing costs nothing, files are short."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PURE = {"numpy", "scipy", "afterfit"}
CORE = sorted(p.stem for p in (ROOT / "src" / "afterfit" / "stats").glob("[a-z]*.py"))


def loaded_by(code: str) -> set[str]:
    """Names of the modules in a fresh interpreter after running code."""
    script = f"import sys; before = set(sys.modules)\n{code}\nimport json; print(json.dumps(sorted(set(sys.modules) - before)))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(json.loads(out))


def test_the_core_loads_only_what_is_pure() -> None:
    code = "\n".join(f"import afterfit.{m}" for m in ["lifecycle", "records", "errors", *(f"stats.{s}" for s in CORE)])
    loaded = loaded_by(code)
    strangers = {m.split(".")[0] for m in loaded} - PURE - set(sys.stdlib_module_names)
    # Compiled helpers of numpy and scipy, and what numpy.f2py (loaded by scipy) looks for if it is installed.
    strangers -= {m for m in strangers if m.startswith(("_", "cython_runtime", "charset_normalizer"))}
    assert strangers == set()
    own = {m for m in loaded if m.startswith("afterfit.")}
    allowed = {"afterfit.lifecycle", "afterfit.records", "afterfit.errors", "afterfit.config", "afterfit.stats"}
    assert {m for m in own if m not in allowed and not m.startswith("afterfit.stats.")} == set()


def test_the_core_names_no_clock_and_no_file() -> None:
    for path in [*(ROOT / "src/afterfit/stats").glob("*.py"), ROOT / "src/afterfit/lifecycle.py"]:
        names = {
            name.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
        }
        assert names <= {
            "numpy",
            "scipy",
            "afterfit",
            "math",
            "zlib",
            "itertools",
            "dataclasses",
            "typing",
            "collections",
            "enum",
            "__future__",
        }


def test_importing_afterfit_loads_nothing_heavy_and_leaves_no_trace(tmp_path: Path) -> None:
    heavy = {"numpy", "pandas", "mlflow", "sklearn", "duckdb", "sqlalchemy", "pyarrow"}
    assert loaded_by("import afterfit") & heavy == set()
    code = "import os; before = dict(os.environ); import afterfit; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_files_are_short_and_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500
    assert re.findall(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text) == []
    tree = ast.parse(text)
    if path.name != "__init__.py" or text.strip():
        assert ast.get_docstring(tree), "one sentence at the head says what the file is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, node.name


def test_no_file_names_a_machine_or_a_registry() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    pattern = re.compile(r"(?<![\w.])/(?:tmp|root|work|home)/\w|https?://[^\s\"']*/simple\b|index-url\s*=")
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".yaml", "") and path.is_file() and path.name != "LICENSE":
            assert pattern.findall(path.read_text(encoding="utf-8")) == [], name
