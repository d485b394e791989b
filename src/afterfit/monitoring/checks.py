"""One look at one window: every column and check gives a finding, and one broken column never hides the others.

The chance of any false finding in the window is at most `alpha`: it is shared over all checks that can fire (weighted
Bonferroni: Genovese, Roeder, Wasserman 2006), and each check's p-value is the larger of two: that for independent rows,
and that of the reference's own blocks, which knows that the rows of one day are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import binom, hypergeom

from afterfit.monitoring.reference import (
    Reference,
    excess,
    is_constant,
    logit,
    outside,
    step_size,
    top_share,
)
from afterfit.records import Finding, Severity
from afterfit.stats import chi2, ks, null_tail, psi, record_tail, units
from afterfit.stats.profile import Categorical, Column, Numeric, Profile, profile
from afterfit.stats.relation import Relation, flip

FEW_ROWS = 30  # rows below which a window is too small for anything but `type` and `missing`
FAR_OUTSIDE = 0.5  # share of values outside the reference's range from which the feed is suspected, not the world
MANY_UNSEEN = 0.05
SURELY = 1.5  # a conversion's factor must exceed the largest natural one by this much (in logarithms)
FITS = 1.0  # a converted window fits when it lies no further away than this share of the reference's own blocks do
FIT_BY_CHANCE = 0.1  # upper bound of the share of natural jumps that some conversion happens to undo
AGREE_BY_CHANCE = 0.03  # upper bound of the share of healthy columns that are suspected of one given conversion
MANY_BLOCKS = 50  # blocks from which it can be seen whether they are as alike as independent rows
FAR_APART = 0.5  # distance of healthy blocks above which they are near the limit of 1
ALIKE = 2.0  # times the squared distances of independent rows; blocks further apart have levels of their own
SHARES = {"unit": 2.0}  # of the budget, by check; 1 for the others. A changed unit does the most harm and hides best
WEAK = 0.05  # a column joins others under one conversion only with at least this much evidence of its own
PREDICTION = "prediction"  # the name under which a model's answers are checked
QUALITY = ("unit", "constant", "nulls", "type", "missing")

Check = Callable[["_Look", str, Column, Column], "_Result"]


@dataclass(frozen=True, slots=True)
class _Look:
    reference: Reference
    trailing: Profile | None
    alpha: float  # of one check with one share
    columns: Mapping[str, Any]
    times: Any | None

    def blocks(self, column: str, check: str) -> tuple[float, ...]:
        return self.reference.blocks.get(column, {}).get(check, ())

    @property
    def chances(self) -> float:
        """How many blocks of the reference the window holds: each of them may set a record or make a step."""
        if self.times is None or not np.isfinite(self.times).any():
            return 1.0
        return max(1.0, float((np.nanmax(self.times) - np.nanmin(self.times)) / self.reference.block))


@dataclass(frozen=True, slots=True)
class _Result:
    method: str
    statistic: float
    distance: float
    p_value: float
    severity: Severity
    message: str


def check_window(
    reference: Reference,
    columns: Mapping[str, Any],
    *,
    alpha: float,
    trailing: Profile | None = None,
    prediction: Any | None = None,
    times: Any | None = None,
) -> list[Finding]:
    """All findings of a window, drifted or not, in the order of the reference's columns.

    Args:
        reference: of the live version.
        columns: arrays of shape (n_rows,) as `columns_of` gives them.
        alpha: chance of any false finding in this window, in (0, 1).
        trailing: merged profile of the last healthy windows, against which a changed unit shows best.
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
    return check_columns(
        reference, window, alpha=alpha, trailing=trailing, prediction=answers, rows=columns, times=times
    )


def check_columns(
    reference: Reference,
    window: Mapping[str, Column],
    *,
    alpha: float,
    trailing: Profile | None = None,
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
    look = _Look(reference, trailing, alpha / max(tests, 1.0), rows or {}, times)
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


def _column(look: _Look, name: str, before: Column, now: Column) -> list[Finding]:
    if now.n < FEW_ROWS:
        message = f"{name}: {now.n} rows are too few to judge, wanted {FEW_ROWS}"
        return [
            _finding(name, "no_data", _Result("count", 0.0, 0.0, 1.0, Severity.INFO, message), look.alpha, before, now)
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
        return {"prediction": _drift}
    if before.kind == "time":
        return {"nulls": _nulls}  # times always move
    if isinstance(before, Numeric):
        checks: dict[str, Check] = {"nulls": _nulls, "drift": _drift, "range": _range}
        return {**checks, "constant": _constant, "unit": _unit} if not is_constant(before) else checks
    texts: dict[str, Check] = {"nulls": _nulls, "drift": _drift, "unseen": _unseen}
    return {**texts, "constant": _constant} if not is_constant(before) else texts


def _nulls(look: _Look, name: str, before: Column, now: Column) -> _Result:
    rate, usual = now.nulls / now.n, before.nulls / max(before.n, 1)
    if before.n and not before.values:
        p = float(binom.sf(now.n - now.nulls - 1, now.n, 1.0 / (before.n + 2)))
        message = f"{name}: {1 - rate:.1%} of the rows have a value; in the reference none had"
        return _Result("binomial test", 1.0 - rate, 1.0 - rate, p, Severity.WARNING, message)
    # Fisher's exact test, one-sided: the reference's own rate is not known exactly either.
    rows = float(hypergeom.sf(now.nulls - 1, before.n + now.n, before.nulls + now.nulls, now.n))
    blocks = _more_nulls(now, np.arcsin(np.sqrt(usual)), before.n, np.asarray(look.blocks(name, "nulls")))
    severity = Severity.CRITICAL if rate - usual > MANY_UNSEEN else Severity.WARNING
    message = f"{name}: {rate:.1%} of the values are null, {usual:.1%} in the reference"
    return _Result("Fisher's exact test, block null", rate, rate - usual, max(rows, blocks), severity, message)


def _more_nulls(now: Column, usual: float, n_reference: int, angles: Any) -> float:
    """Chance of so many nulls in a healthy block. On the angle scale rates vary alike whatever their size, by 1 / (4 n) for
    independent rows; what blocks vary beyond that is theirs. A window may have fewer rows than a block has."""
    if not angles.size:
        return 0.0
    drawn = float(binom.sf(now.nulls - 1, now.n, np.sin(angles) ** 2).mean())
    more = max(0.0, float(np.arcsin(np.sqrt(now.nulls / now.n))) - usual)
    smaller = max(0.0, 0.25 / now.n - 0.25 * angles.size / n_reference)
    return max(drawn, null_tail.squared_p_value(more, angles - usual, 1.0, smaller))


def _drift(look: _Look, name: str, before: Column, now: Column) -> _Result:
    blocks = look.blocks(name, "drift")
    index = psi.psi(before, now)
    if isinstance(before, Numeric) and isinstance(now, Numeric):
        d = ks.distance(before, now)
        rows = ks.p_value(d, before.values, now.values)
        middle = [c.quantiles([0.5])[0] for c in (before, now)]
        said = f"KS distance {d:.2f}, PSI {index:.2f}, median {middle[0]:.4g} → {middle[1]:.4g}"
        method = "Kolmogorov-Smirnov, block null"
    elif isinstance(before, Categorical) and isinstance(now, Categorical):
        d, rows = chi2.total_variation(before, now), chi2.p_value(before, now)
        said = f"total variation {d:.2f}, PSI {index:.2f}{_moved(before, now)}"
        method = "chi-squared, block null"
    else:
        raise TypeError("a column and its reference are of one kind")
    p = max(rows, _apart(d, before, now, blocks))
    what = "the model's own answers" if name == PREDICTION else name
    return _Result(method, d, d, p, Severity.WARNING, f"{what}: the distribution moved, {said}")


def _apart(d: float, before: Column, now: Column, blocks: tuple[float, ...]) -> float:
    """Chance of a distance in [0, 1] between a healthy block and the rest.

    Blocks that lie about as far apart as independent rows would: the test for rows, of a sample as much smaller as they
    are further apart (Rao and Scott's correction). Others: their squared distances, or, near the limit of 1, where squares
    say nothing, their logits.

    References:
        Rao, Scott (1984), On chi-squared tests for multiway contingency tables with cell proportions estimated from survey
        data.
    """
    distances = expit(np.array(blocks))
    noise = ks.NOISE if isinstance(before, Numeric) else chi2.noise(before)
    rows = max(1.0, before.values / max(distances.size, 1))  # of a block
    inflation = float(np.square(distances).mean() * rows / noise) if distances.size and noise > 0 else 0.0
    if distances.size >= MANY_BLOCKS and 0.0 < inflation <= ALIKE:
        sure = max(1.0, inflation) * (1.0 + 2.0 * float(np.sqrt(2.0 / (ks.FREEDOM * distances.size))))
        if isinstance(before, Numeric) and isinstance(now, Numeric):
            return ks.p_value(d / np.sqrt(sure), before.values, now.values)
        if isinstance(before, Categorical) and isinstance(now, Categorical):
            return chi2.p_value(before, now, inflation=sure)
    if distances.max(initial=0.0) > FAR_APART:
        return null_tail.p_value(logit(d, now.values), blocks)
    smaller = noise * max(0.0, 1.0 / max(now.values, 1) - 1.0 / rows)
    return null_tail.squared_p_value(d, distances, ks.FREEDOM, smaller)


def _range(look: _Look, name: str, before: Column, now: Column) -> _Result:
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
    return _Result("order of arrival (Wilks), block null", share, share, p, severity, message)


def _unseen(look: _Look, name: str, before: Column, now: Column) -> _Result:
    if not isinstance(before, Categorical) or not isinstance(now, Categorical):
        raise TypeError("only categories can be unseen")
    fresh = {k: v for k, v in now.counts.items() if k not in before.counts}
    n = sum(fresh.values()) if not (before.folded or now.folded) else 0
    once = sum(v == 1 for v in before.counts.values())  # Good and Turing: the chance of something new
    p = _first_to_come(once, n, before.values, now.values)
    share = n / now.values if now.values else 0.0
    names = ", ".join(sorted(fresh, key=lambda k: -fresh[k])[:3])
    message = f"{name}: {share:.1%} of the values are categories never seen before ({names})"
    severity = Severity.CRITICAL if share > FAR_OUTSIDE else Severity.WARNING
    return _Result(
        "order of arrival, Good-Turing rate",
        share,
        share,
        p,
        severity,
        message if n else f"{name}: all categories are known",
    )


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


def _constant(look: _Look, name: str, before: Column, now: Column) -> _Result:
    if not is_constant(now):
        return _Result("largest share", 0.0, 0.0, 1.0, Severity.INFO, f"{name}: varies")
    # All rows alike by chance, for rows drawn from the whole reference or from one of its blocks.
    shares = np.array([top_share(before), *look.blocks(name, "constant")])
    drawn = shares**now.values
    p = float(max(drawn[0], drawn[1:].mean() if len(drawn) > 1 else 0.0))
    value = next(iter(now.counts)) if isinstance(now, Categorical) else f"{now.low:.6g}"
    message = f"{name}: stuck at {value} in all {now.values:,} rows; it varied in the reference"
    return _Result("largest share, block null", 1.0, 1.0, p, Severity.CRITICAL, message)


def _unit(look: _Look, name: str, before: Column, now: Column) -> _Result:
    """A jump that no healthy block made and that one known conversion undoes: of the whole window against the last
    healthy ones, or from one stretch of the window to the next. Two looks, so each gets half of the chance."""
    trailing = look.trailing.columns.get(name) if look.trailing is not None else None
    baseline = trailing if isinstance(trailing, Numeric) and trailing.values else before
    if not isinstance(baseline, Numeric) or not isinstance(now, Numeric):
        raise TypeError("only numbers have a unit")
    natural = SURELY * max(look.blocks(name, "ratio"), default=0.0)
    looks = [r for r in (_whole(look, name, baseline, now, natural), _step(look, name, baseline, natural)) if r]
    if not looks:
        return _Result("quantile gap", 0.0, 0.0, 1.0, Severity.INFO, f"{name}: no sign of a changed unit")
    found = min(looks, key=lambda r: r.p_value)
    return replace(found, p_value=min(1.0, 2.0 * found.p_value))


def _whole(look: _Look, name: str, baseline: Numeric, now: Numeric, natural: float) -> _Result | None:
    jump, blocks = units.gap(now, baseline), look.blocks(name, "unit")
    if not now.values or np.isnan(jump):
        return None
    usual, noise = _usual(blocks) if len(blocks) >= null_tail.FEWEST else _by_chance(now, baseline)
    found = units.best(now, baseline, natural, noise, _widths(look.blocks(name, "width")))
    if found is None or found[1] > min(usual, jump / 3.0):
        return None
    conversion, left = found
    rows = ks.p_value(ks.distance(baseline, now), baseline.values, now.values)
    p = max(rows, null_tail.p_value(jump, blocks) * FIT_BY_CHANCE)
    was, is_now = baseline.quantiles([0.5])[0], now.quantiles([0.5])[0]
    return _unit_result(name, conversion, jump, jump - left, p, f"median {was:.4g} → {is_now:.4g}")


def _step(look: _Look, name: str, baseline: Numeric, natural: float) -> _Result | None:
    blocks = look.blocks(name, "step")
    if look.times is None or len(blocks) < null_tail.FEWEST:
        return None
    step, was, is_now = step_size(look.columns[name], look.times, baseline, look.reference.block)
    if step == 0.0 or baseline.low <= is_now <= baseline.high:  # a value that healthy days have too is no new unit
        return None
    usual, noise = _usual(blocks)
    width = units.spread(baseline)
    found = units.undo(was, is_now, natural, noise * width)
    if found is None or found[1] / width > min(usual, step / 3.0):
        return None
    p = min(1.0, look.chances * null_tail.p_value(step, blocks)) * FIT_BY_CHANCE
    said = f"from {was:.4g} to {is_now:.4g} within one step of time"
    return _unit_result(name, found[0], step, step - found[1] / width, p, said)


def _unit_result(name: str, c: units.Conversion, size: float, gain: float, p: float, said: str) -> _Result:
    message = f"{name}: looks like a unit change {c.name} ({said}; converted back it fits)"
    return _Result(f"gap before and after {c.name}, block null", size, gain, p, Severity.CRITICAL, message)


def _widths(blocks: tuple[float, ...]) -> tuple[float, float]:
    """The narrowest and the widest that a converted window may be beside its baseline: twice what healthy blocks are."""
    if len(blocks) < null_tail.FEWEST:
        return -np.inf, np.inf
    return min(blocks) - np.log(2.0), max(blocks) + np.log(2.0)


def _usual(blocks: tuple[float, ...]) -> tuple[float, float]:
    """How far apart healthy blocks lie: nine in ten of them, and half of them."""
    return float(np.quantile(blocks, FITS)), float(np.quantile(blocks, 0.5))


def _by_chance(now: Numeric, baseline: Numeric) -> tuple[float, float]:
    """The same for independent rows: quantiles lie about 1.3 / sqrt(n) spreads from the truth, three times that is far."""
    error = 1.3 * float(np.sqrt(1.0 / now.values + 1.0 / baseline.values))
    return min(0.2, 3.0 * error), min(0.1, error)


def _moved(before: Categorical, now: Categorical) -> str:
    def change(k: str) -> float:
        return now.counts.get(k, 0) / now.values - before.counts.get(k, 0) / before.values

    if not now.values or not before.values:
        return ""
    most = max({**before.counts, **now.counts}, key=lambda k: abs(change(k)))
    return f", most for {most!r} ({change(most):+.1%})"


def _sign(look: _Look, name: str, now: Relation) -> Finding:
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


def _finding(name: str, check: str, r: _Result, alpha: float, before: Column, now: Column) -> Finding:
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
