"""Conformance of an HTTP server with the Open Inference Protocol, version 2, REST: what it must answer, proven one by one.

Works against any server: it needs the base URL, the name of a model that is loaded, and inputs which that model takes.

    python -m afterfit.testing.open_inference http://127.0.0.1:8600 MODEL inputs.json
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from afterfit.testing.open_inference_checks import CHECKS, MUST, Check, Server, Skip, Tensor


@dataclass(frozen=True, slots=True)
class Result:
    """One check. `outcome` is pass, fail, or skip where the server may leave out what the check looks at."""

    name: str
    level: (
        str  # must | may: what the protocol demands, and what it leaves to the server or what only good sense demands
    )
    requirement: str
    outcome: str
    found: str  # why it failed or was skipped


@dataclass(frozen=True, slots=True)
class Report:
    """The results in order.

    >>> Report((Result("live", "must", "GET /v2/health/live answers 200", "pass", ""),)).conforms
    True
    """

    results: tuple[Result, ...]

    @property
    def conforms(self) -> bool:
        """Whether everything that the protocol demands holds."""
        return not any(r.outcome == "fail" for r in self.results if r.level == MUST)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed, whatever their level."""
        return tuple(r.name for r in self.results if r.outcome == "fail")

    def table(self) -> str:
        """All results as a Markdown table."""
        lines = ["| check | level | requirement | outcome | found |", "|---|---|---|---|---|"]
        for r in self.results:
            lines.append(
                f"| {r.name} | {r.level} | {r.requirement} | {r.outcome} | {r.found.replace('|', '/')[:200]} |"
            )
        return "\n".join(lines)


def check_open_inference(
    url: str,
    model: str,
    inputs: Sequence[Tensor],
    *,
    version: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout: float = 30.0,
    token: str | None = None,
) -> Report:
    """Run every check against a server.

    Args:
        url: base of the server, such as `http://127.0.0.1:8600`; `/v2` is appended.
        model: name of a model that is ready.
        inputs: tensors of a request that the model answers, two rows or more.
        version: a version that may be asked for by name; None: the first that the metadata lists, where it lists any.
        parameters: of each request, where the server needs some.
        timeout: seconds that one reply may take.
        token: sent as `Authorization: Bearer ...` with each request, to a server that demands one.

    Raises:
        httpx.TransportError: there is no server.
    """
    apart = httpx.Limits(max_keepalive_connections=0)  # a server that hangs up after an error fails one check, not two
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, timeout=timeout, limits=apart, headers=headers) as client:
        client.get("/v2/health/live")  # raises where nobody listens; later, an answer that does not come is a finding
        server = Server(client, model, copy.deepcopy(list(inputs)), version, dict(parameters or {}))
        return Report(tuple(_run(check, server) for check in CHECKS))


def _run(check: Check, server: Server) -> Result:
    try:
        check.act(server)
    except Skip as skip:
        return Result(check.name, check.level, check.requirement, "skip", str(skip))
    except (
        AssertionError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # a reply of another shape than any that we look for
        told = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Result(check.name, check.level, check.requirement, "fail", " ".join(told.split()))
    return Result(check.name, check.level, check.requirement, "pass", "")


class OpenInferenceLaws:
    """`class TestMine(OpenInferenceLaws)` with `report`, and pytest runs it in your own CI.

    Attributes:
        exceptions: name of a check that yours can't keep -> the reason. One that is kept after all is told, too.
    """

    exceptions: Mapping[str, str] = {}

    def report(self) -> Report:
        """What :func:`check_open_inference` found."""
        raise TypeError(f"{type(self).__name__} must say where its server is: def report(self) -> Report")

    def test_it_keeps_the_protocol(self) -> None:
        """Each check passes, is skipped, or is an exception with a reason."""
        report = self.report()
        unknown = set(self.exceptions) - {check.name for check in CHECKS}
        assert not unknown, f"exceptions for checks that don't exist: {sorted(unknown)}"
        assert set(report.failed) == set(self.exceptions), f"failed {report.failed}\n{report.table()}"


def main(url: str, model: str, inputs: str) -> int:
    """Print the table; 0 if the server conforms. `inputs` is a JSON file with the list of tensors; a token that the server
    demands stands in the variable AFTERFIT_TOKEN."""
    tensors = json.loads(Path(inputs).read_text(encoding="utf-8"))
    report = check_open_inference(url, model, tensors, token=os.environ.get("AFTERFIT_TOKEN"))
    sys.stdout.write(report.table() + "\n")
    return 0 if report.conforms else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("wanted: python -m afterfit.testing.open_inference URL MODEL INPUTS.json")
    sys.exit(main(*sys.argv[1:]))
