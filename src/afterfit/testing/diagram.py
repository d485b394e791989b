"""The page about the life of a model, drawn from the table itself: `python -m afterfit.testing.diagram > docs/lifecycle.md`."""

from __future__ import annotations

import sys

from afterfit.lifecycle import TABLE, Phase

HEAD = """# The life of a model

This page is generated from the table in `src/afterfit/lifecycle.py`; a test fails when they differ. An event that a phase
does not list raises, naming the possible ones. Guards (sample sizes, verdicts, weights) are judged outside the table and
arrive as events.
"""


def page() -> str:
    """The whole page: a Mermaid state diagram and the table.

    >>> "stateDiagram-v2" in page()
    True
    """
    lines = [HEAD, "```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.NEW.value}"]
    for phase, row in TABLE.items():
        by_target: dict[str, list[str]] = {}
        for happening, (target, _) in row.items():
            by_target.setdefault(target.value, []).append(happening.value)
        lines += [f"    {phase.value} --> {target}: {', '.join(names)}" for target, names in by_target.items()]
    lines += ["```", "", "| phase | event | next phase | commands |", "|---|---|---|---|"]
    for phase, row in TABLE.items():
        for happening, (target, commands) in row.items():
            named = ", ".join(c.value for c in commands) or "none"
            lines.append(f"| {phase.value} | {happening.value} | {target.value} | {named} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
