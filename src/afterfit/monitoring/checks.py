"""One look at one window: every column and check gives a finding, and one broken column never hides the others.

The chance of any false finding in the window is at most `alpha`: it is shared over all checks that can fire (weighted
Bonferroni: Genovese, Roeder, Wasserman 2006), and each check's p-value is the larger of two: that for independent rows,
and that of the reference's own blocks, which knows that the rows of one day are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binom, hypergeom

from afterfit.monitoring.drift import PREDICTION, drift
from afterfit.monitoring.look import REMEMBERED, Check, Look, Result, Seen
from afterfit.monitoring.nulls import nulls
from afterfit.monitoring.reference import Reference, excess, is_constant, outside, top_share
from afterfit.monitoring.unit import unit
from afterfit.records import Finding, Severity
from afterfit.stats import record_tail
from afterfit.stats.profile import Categorical, Column, Numeric, profile
from afterfit.stats.relation import Relation, flip

FEW_ROWS = 30  # rows below which a window is too small for anything but `type` and `missing`
FAR_OUTSIDE = 0.5  # share of values outside the reference's range from which the feed is suspected, not the world
AGREE_BY_CHANCE = 0.03  # upper bound of the share of healthy columns that are suspected of one given conversion
# Parts of the budget by check, 1 for the others. A moved distribution is what is most often looked for, and its chance is
# used up; the others are whole numbers of rows, and seldom come near theirs.
SHARES = {"drift": 4.0, "prediction": 4.0, "range": 0.5, "unseen": 0.5, "constant": 0.25}
WEAK = 0.05  # a column joins others under one conversion only with at least this much evidence of its own
QUALITY = ("unit", "constant", "nulls", "type", "missing")


def check_window(
    reference: Reference,
    columns: Mapping[str, Any],
    *,
    alpha: float,
    recent: Sequence[Seen] = (),
    prediction: Any | None = None,
    times: Any | None = None,
) -> list[Finding]:
    """All findings of a window, drifted or not, in the order of the reference's columns.

    Args:
        reference: of the live version.
        columns: arrays of shape (n_rows,) as `columns_of` gives them.
        alpha: chance of any false finding in this window, in (0, 1).
        recent: the last healthy windows, oldest first, up to REMEMBERED of them: small changes add up over them, and a
            changed unit shows best beside them.
        prediction: the version's own answers, one number (or label) a row.
        times: event times in epoch seconds, shape (n_rows,); with them a unit that changed within the window shows.
    """
    window: dict[str, Column] = {}
    for name, values in columns.items():
        kind = "number" if isinstance(reference.profile.columns.get(name), Numeric) else "text"
        try:
            window[name] = profile({name: values}, {name: kind}).columns[name]
        except (TypeError, ValueError):
            window[name] = Categorical.of(np.asarray(values, dtype=object))
    answers = None
    if prediction is not None and reference.prediction is not None:
        kind = "number" if isinstance(reference.prediction, Numeric) else "text"
        answers = profile({PREDICTION: prediction}, {PREDICTION: kind}).columns[PREDICTION]
    return check_columns(reference, window, alpha=alpha, recent=recent, prediction=answers, rows=columns, times=times)


def check_columns(
    reference: Reference,
    window: Mapping[str, Column],
    *,
    alpha: float,
    recent: Sequence[Seen] = (),
    prediction: Column | None = None,
    rows: Mapping[str, Any] | None = None,
    times: Any | None = None,
    relations: Mapping[str, Relation] | None = None,
) -> list[Finding]:
    """The same from the profiles of a window's columns; only a unit that changed within the window needs its rows.

    With `relations` (of the columns with the target), and where the reference has them too, a sign that flipped shows.
    """
    found: list[Finding] = []
    usable: list[tuple[str, Column, Column]] = []
    for name, before in reference.profile.columns.items():
        if name not in window:
            found.append(_broken(name, "missing", before, "the column is missing"))
        elif (both := _comparable(before, window[name])) is None:
            what = f"wanted {before.kind}, found {window[name].kind}"
            found.append(_broken(name, "type", before, f"the column changed its type: {what}"))
        else:
            usable.append((name, *both))
    found += [_extra(name) for name in window if name not in reference.profile.columns]
    if prediction is not None and reference.prediction is not None:
        both = _comparable(reference.prediction, prediction)
        if both is None:
            found.append(_broken(PREDICTION, "type", reference.prediction, "the answers changed their type"))
        else:
            usable.append((PREDICTION, *both))
    related = [name for name in relations or {} if name in reference.profile.relations]
    tests = sum(SHARES.get(check, 1.0) for name, before, _ in usable for check in _checks(name, before)) + len(related)
    look = Look(reference, tuple(recent), alpha / max(tests, 1.0), rows or {}, times)
    for name, before, now in usable:
        found += _column(look, name, before, now)
    found = _agree(found)
    return found + [_sign(look, name, (relations or {})[name]) for name in related]


def _comparable(before: Column, now: Column) -> tuple[Column, Column] | None:
    """Both as one kind, or None. A column without any value has the kind of the other; times are no numbers."""
    if isinstance(before, Numeric) and isinstance(now, Numeric):
        return (before, now) if (before.kind == "time") == (now.kind == "time") or not now.values else None
    if isinstance(before, Numeric) and isinstance(now, Categorical):
        return (before, Numeric.of([], nulls=now.n, kind=before.kind)) if not now.values else None
    if isinstance(before, Categorical) and isinstance(now, Numeric):
        if not now.n - now.nulls:
            return before, Categorical.counted({}, nulls=now.n, kind=before.kind)
        return (Numeric.of([], nulls=before.n, kind=now.kind), now) if not before.values else None
    return before, now


def is_healthy(findings: list[Finding]) -> bool:
    """Whether nothing in the window says that a feed is broken."""
    return not any(f.drifted and f.severity is Severity.CRITICAL for f in findings)


def _column(look: Look, name: str, before: Column, now: Column) -> list[Finding]:
    if now.n < FEW_ROWS:
        message = f"{name}: {now.n} rows are too few to judge, wanted {FEW_ROWS}"
        return [
            _finding(name, "no_data", Result("count", 0.0, 0.0, 1.0, Severity.INFO, message), look.alpha, before, now)
        ]
    return [
        _finding(name, check, test(look, name, before, now), look.alpha * SHARES.get(check, 1.0), before, now)
        for check, test in _checks(name, before).items()
    ]


def _agree(findings: list[Finding]) -> list[Finding]:
    """Columns that one and the same conversion explains at once speak for each other: that so many of all the others would
    agree by chance (AGREE_BY_CHANCE each) makes it less likely still. A changed unit is the cause of a column's drift,
    which is then left out."""
    tried = sum(f.check == "unit" for f in findings)
    suspects = [f for f in findings if f.check == "unit" and f.p_value < WEAK]
    agreed: dict[str, Finding] = {}
    for f in suspects:
        others = sum(g.method == f.method for g in suspects) - 1
        p = f.p_value * float(binom.sf(others - 1, tried - 1, AGREE_BY_CHANCE))
        drifted = p < f.threshold
        severity = Severity.CRITICAL if drifted else Severity.INFO
        agreed[f.column] = replace(f, p_value=p, drifted=drifted, severity=severity)
    found = [agreed.get(f.column, f) if f.check == "unit" else f for f in findings]
    broken = {f.column for f in found if f.check == "unit" and f.drifted}
    return [f for f in found if not (f.column in broken and f.check in ("drift", "range"))]


def _checks(name: str, before: Column) -> dict[str, Check]:
    if name == PREDICTION:
        return {"prediction": drift}
    if before.kind == "time":
        return {"nulls": nulls}  # times always move
    if isinstance(before, Numeric):
        checks: dict[str, Check] = {"nulls": nulls, "drift": drift, "range": _range}
        return {**checks, "constant": _constant, "unit": unit} if not is_constant(before) else checks
    texts: dict[str, Check] = {"nulls": nulls, "drift": drift, "unseen": _unseen}
    return {**texts, "constant": _constant} if not is_constant(before) else texts


def _range(look: Look, name: str, before: Column, now: Column) -> Result:
    if not isinstance(before, Numeric) or not isinstance(now, Numeric):
        raise TypeError("only numbers have a range")
    share = outside(now, before)
    rows = _first_to_come(1, round(share * now.values), before.values, now.values)
    p = max(rows, min(1.0, look.chances * record_tail.p_value(excess(now, before), look.blocks(name, "range"))))
    spread = before.high - before.low
    far = share > FAR_OUTSIDE and max(before.low - now.low, now.high - before.high) > spread
    message = (
        f"{name}: {share:.1%} of the values lie outside the reference's range {before.low:.4g} to {before.high:.4g}"
    )
    severity = Severity.CRITICAL if far else Severity.WARNING
    return Result("order of arrival (Wilks), block null", share, share, p, severity, message)


def _unseen(look: Look, name: str, before: Column, now: Column) -> Result:
    if not isinstance(before, Categorical) or not isinstance(now, Categorical):
        raise TypeError("only categories can be unseen")
    told: set[str] = set()  # what an earlier window was an alarm for is no news today
    for earlier, _ in look.before(name, Categorical, REMEMBERED):
        if isinstance(earlier, Categorical):
            fresh = _fresh(before, earlier, told)
            if fresh and _chance_of_new(before, earlier, fresh) < look.alpha * SHARES["unseen"]:
                told |= fresh.keys()
    fresh = _fresh(before, now, told)
    n, p = sum(fresh.values()), _chance_of_new(before, now, fresh)
    share = n / now.values if now.values else 0.0
    names = ", ".join(sorted(fresh, key=lambda k: -fresh[k])[:3])
    message = f"{name}: {share:.1%} of the values are categories never seen before ({names})"
    severity = Severity.CRITICAL if share > FAR_OUTSIDE else Severity.WARNING
    return Result(
        "order of arrival, Good-Turing rate",
        share,
        share,
        p,
        severity,
        message if n else f"{name}: no category is new",
    )


def _fresh(before: Categorical, now: Categorical, told: set[str]) -> dict[str, int]:
    """Rows by category that the reference does not have; none where categories were folded, which can't be compared."""
    if before.folded or now.folded:
        return {}
    return {k: v for k, v in now.counts.items() if k not in before.counts and k not in told}


def _chance_of_new(before: Categorical, now: Categorical, fresh: Mapping[str, int]) -> float:
    once = sum(v == 1 for v in before.counts.values())  # Good and Turing: the chance of something new
    return _first_to_come(once, sum(fresh.values()), before.values, now.values)


def _first_to_come(known: int, new: int, n_reference: int, n_window: int) -> float:
    """Chance that at least `new` rows of the window come before more than `known` of the reference when both are shuffled.

    With 1: that so many lie beyond the reference's smallest and largest value (the two outer gaps between n values are as
    long as the two uppermost ones). With the number of categories that came once (Good and Turing): that so many are
    new.

    References:
        Wilks (1941), Determination of sample sizes for setting tolerance limits.
    """
    if new == 0:
        return 1.0
    return float(hypergeom.cdf(known, n_reference + n_window, n_reference, min(new + known, n_reference + n_window)))


def _constant(look: Look, name: str, before: Column, now: Column) -> Result:
    if not is_constant(now):
        return Result("largest share", 0.0, 0.0, 1.0, Severity.INFO, f"{name}: varies")
    # All rows alike by chance, for rows drawn from the whole reference or from one of its blocks.
    shares = np.array([top_share(before), *look.blocks(name, "constant")])
    drawn = shares**now.values
    p = float(max(drawn[0], drawn[1:].mean() if len(drawn) > 1 else 0.0))
    value = next(iter(now.counts)) if isinstance(now, Categorical) else f"{now.low:.6g}"
    message = f"{name}: stuck at {value} in all {now.values:,} rows; it varied in the reference"
    return Result("largest share, block null", 1.0, 1.0, p, Severity.CRITICAL, message)


def _sign(look: Look, name: str, now: Relation) -> Finding:
    before = look.reference.profile.relations[name]
    p, moved = flip(before, now), abs(now.correlation - before.correlation) / 2.0
    said = f"{before.correlation:+.2f} in {before.n:,} rows → {now.correlation:+.2f} in {now.n:,}"
    drifted = p < look.alpha
    what = "the model's own answers" if name == PREDICTION else name
    message = f"{what}: the correlation with the target flipped its sign ({said})" if drifted else f"{what}: {said}"
    severity = Severity.WARNING if drifted else Severity.INFO
    return Finding(
        name, "sign", "Fisher's z of both", moved, moved, p, look.alpha, drifted, severity, message, before.n, now.n
    )


def _finding(name: str, check: str, r: Result, alpha: float, before: Column, now: Column) -> Finding:
    drifted = check != "no_data" and r.p_value < alpha
    return Finding(
        column=name,
        check=check,
        method=r.method,
        statistic=r.statistic,
        distance=r.distance,
        p_value=r.p_value,
        threshold=alpha,
        drifted=drifted,
        severity=r.severity if drifted else Severity.INFO,
        message=r.message,
        n_reference=before.n,
        n_window=now.n,
    )


def _broken(name: str, check: str, before: Column, message: str) -> Finding:
    return Finding(
        name, check, "schema", 1.0, 1.0, 0.0, 0.0, True, Severity.CRITICAL, f"{name}: {message}", before.n, 0
    )


def _extra(name: str) -> Finding:
    message = f"{name}: a column that the reference does not have"
    return Finding(name, "extra", "schema", 1.0, 1.0, 0.0, 0.0, True, Severity.WARNING, message, 0, 0)
