"""Reads a drawn report strictly, and makes small ones."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np

from afterfit.monitoring.drawing import Pair, Timeline
from afterfit.monitoring.html import render
from afterfit.monitoring.report import Report
from afterfit.records import Finding, Severity
from afterfit.stats.profile import Numeric

VOID = {"meta", "rect", "path", "br"}


class Page(HTMLParser):
    """A page read strictly: every element is closed in order, every id is unique, every link stays on the page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        ids = [a["id"] for _, a in self.tags if "id" in a]
        assert len(ids) == len(set(ids))
        assert {a["href"] for _, a in self.tags if "href" in a} <= {f"#{i}" for i in ids}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len({k for k, _ in attrs}), f"an attribute twice in {tag}"
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.texts).split())

    def of(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        return [a for t, a in self.tags if t == tag and kind in f" {a.get('class', '')} ".split(" ")]


def finding(column: str, check: str = "drift", **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "method": "Kolmogorov-Smirnov, block null",
        "statistic": 0.4,
        "distance": 0.4,
        "p_value": 1e-9,
        "threshold": 1e-4,
        "drifted": True,
        "severity": Severity.WARNING,
        "message": f"{column}: the distribution moved",
        "n_reference": 1000,
        "n_window": 500,
    }
    return Finding(column=column, check=check, **{**values, **changes})


def healthy(column: str, **changes: Any) -> Finding:
    return finding(column, **{"drifted": False, "severity": Severity.INFO, "p_value": 0.4, "distance": 0.02, **changes})


def page(*findings: Finding, timeline: Timeline = (), **columns: Pair) -> Page:
    return Page(render(Report(findings, 0.01, 1000, 500), columns, title="old against new", timeline=timeline))


def drawn(read: Page) -> str:
    """The words of the one drawing of categories."""
    return read.words.split("Share of values")[1].split("rows")[0]


def normal(seed: int, middle: float = 50.0, n: int = 1000) -> Numeric:
    return Numeric.of(np.random.default_rng(seed).normal(middle, 5.0, n))
