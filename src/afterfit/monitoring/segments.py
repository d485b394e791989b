"""A window is judged as a whole and by segment: a change at one airport of three is diluted in the whole.

Half of the budget is the whole's; the segments share the other half in equal parts. So the chance of any false finding
stays at most `alpha` however the rows fall, and halving it costs the whole little: thresholds move with its logarithm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afterfit.errors import InputError, list_known
from afterfit.monitoring.checks import FEW_ROWS, check_columns, check_window
from afterfit.monitoring.drift import PREDICTION
from afterfit.monitoring.look import Seen
from afterfit.monitoring.reference import Reference, build_reference
from afterfit.monitoring.where import NOTE
from afterfit.records import Finding, Severity
from afterfit.stats.cuts import MOST_SEGMENTS, NULL, OTHER, Plan, choose, name_of, rows_by_segment, some
from afterfit.stats.heavy_hitters import HeavyHitters
from afterfit.stats.profile import Categorical, Column, Profile, profile

FEW_REFERENCE = 10 * FEW_ROWS  # then the reference adds at most a tenth to the variance of the smallest window
WHOLE = 0.5  # the whole's part of the budget
EVERYWHERE = ("missing", "type", "extra")  # of a column in all segments alike: the whole says it

Cells = Mapping[str, Mapping[str, Profile]]  # column that cuts -> segment -> its rows' profile


def names_of(segment_by: str | Sequence[str] | None) -> tuple[str, ...]:
    """The columns that cut, each once."""
    if segment_by is None:
        return ()
    given = (segment_by,) if isinstance(segment_by, str) else tuple(segment_by)
    wrong = [g for g in given if not isinstance(g, str)]
    if wrong:
        raise InputError(f'segment_by holds {wrong[0]!r}: wanted names of columns, such as ["origin", "carrier"]')
    return tuple(dict.fromkeys(given))


def refuse_missing(segment_by: Sequence[str], columns: Sequence[str], what: str) -> None:
    """InputError for a column that cuts and is not there."""
    for by in segment_by:
        if by not in columns:
            raise InputError(f"segment_by = {by!r}: {what} has no such column; {list_known(by, columns)}")


def plans_of(reference: Reference) -> dict[str, Plan]:
    """How the rows of a window are cut for a reference that was cut before."""
    found = {}
    for by, cells in reference.segments.items():
        kept = tuple(name for name in cells if name != OTHER)
        if OTHER not in cells:
            found[by] = Plan(kept, frozenset(kept))
            continue
        known = _known(reference.profile.columns.get(by))
        pooled = sorted((known or frozenset()) - set(kept))
        names = f" ({some(pooled)})" if pooled else ""
        said = (
            f"{by}: values too rare in the reference or beyond the {MOST_SEGMENTS} largest are judged as {OTHER}{names}"
        )
        found[by] = Plan(kept, known, said)
    return found


def _known(column: Column | None) -> frozenset[str] | None:
    if not isinstance(column, Categorical) or column.folded:
        return None
    return frozenset(column.counts) | ({NULL} if column.nulls else frozenset())


def segmented_reference(
    columns: Mapping[str, Any],
    *,
    kinds: Mapping[str, str],
    times: NDArray[np.float64] | None,
    prediction: Any | None,
    window: float,
    segment_by: Sequence[str],
) -> Reference:
    """:func:`build_reference` of all rows, and of each segment's: 1 to 15 kB a column and segment as JSON.

    A segment must have enough rows for the windows of the reference too (FEW_ROWS in each, on average).

    Raises:
        InputError: a column that cuts is not there.
    """
    whole = build_reference(columns, kinds=kinds, times=times, prediction=prediction, window=window)
    refuse_missing(segment_by, list(columns), "the model")
    windows = 1.0 if times is None or not len(times) else max(1.0, float(np.ptp(times)) / window)
    cells: dict[str, dict[str, Reference]] = {}
    for by in segment_by:
        names = [name_of(v) for v in np.asarray(columns[by]).tolist()]
        counts = dict(zip(*np.unique(names, return_counts=True), strict=True)) if names else {}
        counted = HeavyHitters() + HeavyHitters({str(k): int(v) for k, v in counts.items()})
        plan = choose(by, counted, least=max(FEW_REFERENCE, int(np.ceil(FEW_ROWS * windows))), needed=FEW_ROWS)
        cells[by] = {
            segment: build_reference(
                {name: np.asarray(v)[rows] for name, v in columns.items() if name != by},
                kinds=kinds,
                times=None if times is None else times[rows],
                prediction=None if prediction is None else np.asarray(prediction)[rows],
                window=window,
            )
            for segment, rows in rows_by_segment(plan, columns[by]).items()
        }
    return replace(whole, segments=cells)


def without_prediction(reference: Reference) -> Reference:
    """The same, with segments whose answers are not judged."""
    parts = {by: {s: replace(p, prediction=None) for s, p in of.items()} for by, of in reference.segments.items()}
    return replace(reference, segments=parts)


def check_segmented(
    reference: Reference,
    columns: Mapping[str, Any],
    *,
    alpha: float,
    recent: Sequence[Seen] = (),
    prediction: Any | None = None,
    times: Any | None = None,
) -> list[Finding]:
    """:func:`check_window` of the whole and, where the reference has segments, of each with enough rows.

    Args:
        as `check_window`; `prediction` is NaN (or None) in rows that another version answered.
    """
    plans = plans_of(reference)
    rows = {
        by: rows_by_segment(plan, columns[by]) if by in columns else dict[str, NDArray[np.int64]]()
        for by, plan in plans.items()
    }

    def judge(by: str, segment: str, part: Reference, chance: float) -> list[Finding]:
        at = rows[by][segment]
        return check_window(
            part,
            {name: np.asarray(v)[at] for name, v in columns.items() if name != by},
            alpha=chance,
            recent=[Seen(s.start, s.segments[by][segment]) for s in recent if segment in s.segments.get(by, {})],
            prediction=None if prediction is None else _answered(np.asarray(prediction)[at]),
            times=None if times is None else np.asarray(times)[at],
        )

    sizes = {by: {segment: at.size for segment, at in cells.items()} for by, cells in rows.items()}
    notes = [note(by, plan.said) for by, plan in plans.items() if plan.said]
    judged, parts = _parts(reference, sizes, alpha * (1.0 - WHOLE), judge)
    answers = None if prediction is None else _answered(np.asarray(prediction))
    whole = alpha * WHOLE if judged else alpha
    return check_window(reference, columns, alpha=whole, recent=recent, prediction=answers, times=times) + notes + parts


def check_cells(reference: Reference, cells: Cells, cuts: Sequence[str], *, alpha: float) -> list[Finding]:
    """Findings of the segments of the columns `cuts` alone, from profiles; `alpha` is for all of them together."""

    def judge(by: str, segment: str, part: Reference, chance: float) -> list[Finding]:
        columns = dict(cells[by][segment].columns)
        answers = columns.pop(PREDICTION, None) if part.prediction is not None else None
        return check_columns(part, columns, alpha=chance, prediction=answers)

    sizes = {by: {segment: cell.n for segment, cell in parts.items()} for by, parts in cells.items()}
    chosen = replace(reference, segments={by: reference.segments[by] for by in cuts})
    return _parts(chosen, sizes, alpha, judge)[1]


def seen_window(start: float, columns: Mapping[str, Any], kinds: Mapping[str, str], reference: Reference) -> Seen:
    """A healthy window to remember, with its segments but OTHER: a later version may pool others."""
    cells = {
        by: {
            segment: profile({n: np.asarray(v)[at] for n, v in columns.items() if n != by}, kinds)
            for segment, at in rows_by_segment(plan, columns[by]).items()
            if segment != OTHER
        }
        for by, plan in plans_of(reference).items()
        if by in columns
    }
    return Seen(start, profile(columns, kinds), cells)


def _parts(
    reference: Reference,
    sizes: Mapping[str, Mapping[str, int]],
    alpha: float,
    judge: Callable[[str, str, Reference, float], list[Finding]],
) -> tuple[int, list[Finding]]:
    """(segments that were judged, findings: one for each segment that says how it came off, and what drifted).

    What did not drift is left out: windows are stored with their findings, and twenty segments would make them 2 MB.
    """
    found: list[Finding] = []
    enough: list[tuple[str, str, Reference]] = []
    for by, parts in reference.segments.items():
        for segment, part in parts.items():
            rows = sizes.get(by, {}).get(segment, 0)
            if rows >= FEW_ROWS and part.profile.n >= FEW_REFERENCE:
                enough.append((by, segment, part))
            else:
                found.append(_too_few(by, segment, part.profile.n, rows))
    chance = alpha / max(len(enough), 1)
    for by, segment, part in enough:
        labelled = list(_labelled(by, segment, judge(by, segment, part, chance)))
        found += [_came_off(by, segment, labelled, part.profile.n, sizes[by][segment])]
        found += [f for f in labelled if f.drifted]
    return len(enough), found


def _labelled(by: str, segment: str, findings: list[Finding]) -> Iterator[Finding]:
    label = f"{by}={segment}"
    for f in findings:
        if f.check not in EVERYWHERE and f.column != by:
            subject = f.column if f.message.startswith(f"{f.column}: ") else f.message.partition(": ")[0]
            said = f.message.removeprefix(subject)
            yield replace(f, segment=label, message=f"{subject} [{label}]{said}")


def note(
    by: str, message: str, *, segment: str | None = None, judged: int = 0, n_reference: int = 0, n_window: int = 0
) -> Finding:
    """A finding that tells how rows were cut or how a segment came off, and alarms nobody; `judged` columns."""
    return Finding(
        column=by,
        check=NOTE,
        method="count",
        statistic=float(judged),
        distance=0.0,
        p_value=1.0,
        threshold=0.0,
        drifted=False,
        severity=Severity.INFO,
        message=message,
        n_reference=n_reference,
        n_window=n_window,
        segment=segment,
    )


def _came_off(by: str, segment: str, findings: Sequence[Finding], n_reference: int, n_window: int) -> Finding:
    label, judged = f"{by}={segment}", len({f.column for f in findings})
    hit = dict.fromkeys(f.column for f in sorted((f for f in findings if f.drifted), key=lambda f: f.p_value))
    message = f"{label}: {len(hit)} of {judged} columns drifted" + (f" ({some(list(hit))})" if hit else "")
    return note(by, message, segment=label, judged=judged, n_reference=n_reference, n_window=n_window)


def _too_few(by: str, segment: str, n_reference: int, n_window: int) -> Finding:
    label = f"{by}={segment}"
    message = (
        f"{label}: not judged by itself, {n_window:,} rows in the window and {n_reference:,} in the reference; "
        f"wanted {FEW_ROWS} and {FEW_REFERENCE}"
    )
    return note(by, message, segment=label, n_reference=n_reference, n_window=n_window)


def _answered(prediction: NDArray[Any]) -> NDArray[Any]:
    known = ~np.isnan(prediction) if prediction.dtype.kind == "f" else np.array([p is not None for p in prediction])
    return np.asarray(prediction[known.astype(bool)])
