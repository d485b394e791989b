"""What all commands share: the console, the options that mean the same everywhere, settings, JSON. No command lives here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from afterfit.config import CONFIG_FILE, Config, config_file, load

CONFIG = Path(CONFIG_FILE)
out = Console(highlight=False, soft_wrap=True)


def _settled(path: Path) -> Path:
    return config_file(path.parent) if path == CONFIG else path


ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="settings", callback=_settled)]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
Why = Annotated[str, typer.Option("--why", help="the reason, for the ledger")]


def config_of(path: Path) -> Config:
    """The settings in a file, and those of the environment, which win."""
    return load(path, os.environ)


def print_json(value: Any) -> None:
    """A value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
