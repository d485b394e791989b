"""schemathesis, as anybody would run it, on the OpenAPI that the gateway gives of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.place import Place

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method"
)


def explored(place: Place, examples: int, seed: int) -> tuple[bool, str]:
    """(whether it failed, what it said), with so many examples for each operation, also of bodies that don't fit."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{place.url}/openapi.json",
        "--checks",
        CHECKS,
    ]
    command += [
        "--max-examples",
        str(examples),
        "--seed",
        str(seed),
        "--phases",
        "examples,coverage,fuzzing",
        "--no-color",
    ]
    command += ["--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"]
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "120"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    return done.returncode != 0, done.stdout + done.stderr
