"""Tells people through apprise (mail, Slack, and a hundred more), and always through a log file under home."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from afterfit.adapters.atomic_file import cannot_write
from afterfit.errors import ConfigError, SetupError

logger = logging.getLogger("afterfit.notifications")
_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}  # severity -> colour and sign in apprise


class AppriseNotifier:
    """Implements the port `Notifier`.

    Args:
        home: `logs/notifications.log` is kept under it.
        urls: apprise URLs, as in `notify` of afterfit.toml; may be empty.

    Raises:
        ConfigError: apprise does not understand a URL. Its secret part is not shown.
        SetupError: the log folder can't be made.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> AppriseNotifier(Path(folder.name)).send("promoted", "version 2", severity="info", model="flight")
    []
    >>> (Path(folder.name) / "logs" / "notifications.log").read_text().split(" ", 1)[1]
    'INFO flight: promoted | version 2\\n'
    >>> folder.cleanup()
    """

    def __init__(self, home: Path, urls: Sequence[str] = ()) -> None:
        self._log = home / "logs" / "notifications.log"
        self._services = [_service(url, position) for position, url in enumerate(urls)]
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(str(cannot_write(self._log, error))) from error

    def notify(self, title: str, body: str, *, severity: str, model: str) -> None:
        """Send and log; see :meth:`send`. Never raises for a service or a disk that fails."""
        self.send(title, body, severity=severity, model=model)

    def send(self, title: str, body: str, *, severity: str, model: str) -> list[str]:
        """Send to every service and append one line to the log; the problems met, in plain words, are in both."""
        problems = [
            problem
            for name, service in self._services
            if (problem := _deliver(name, service, f"[{model}] {title}", body, severity)) is not None
        ]
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        line = f"{moment} {severity.upper()} {_one_line(model)}: {_one_line(title)} | {_one_line(body)}".rstrip(" |")
        if problems:
            line += " [not delivered: " + "; ".join(_one_line(problem) for problem in problems) + "]"
        try:
            with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")
        except OSError as error:
            problems.append(str(cannot_write(self._log, error)))
            logger.error("notification could not be logged: %s (%s)", line, problems[-1])
        return problems


def _service(url: str, position: int) -> tuple[str, Any]:
    import apprise  # heavy, and not needed by those who read the log

    service = apprise.Apprise()
    scheme = url.partition("://")[0] if "://" in url else "no scheme"
    with warnings.catch_warnings():  # the first `add` imports all plug-ins of apprise; one of them wants imghdr
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        understood = service.add(url)
    if not understood:
        raise ConfigError(
            f"notify[{position}] ({scheme}://...) is not a URL that apprise understands; wanted for example "
            '"mailto://user:password@example.org". See the list of services in the documentation of apprise'
        )
    return scheme, service


def _deliver(name: str, service: Any, title: str, body: str, severity: str) -> str | None:
    """None when it was delivered, else why not."""
    import apprise

    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        try:
            delivered = service.notify(title=title, body=body or title, notify_type=_TYPES.get(severity, "info"))
        except Exception as error:  # noqa: BLE001 - a plug-in of a third party, behind the network: the loop goes on
            return f"{name}: {type(error).__name__}: {error}"
        reason = _one_line(said.getvalue())
    return None if delivered else f"{name}: {reason or 'refused without a reason'}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
