"""Why a model got worse between two frames with outcomes: cause, features and slices, in words a newcomer understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from afterfit.errors import InputError
from afterfit.monitoring.cause_membership import membership
from afterfit.monitoring.cause_rows import Coded, Judged, broken_rows, classified, coded, names_of, regressed
from afterfit.records import Finding
from afterfit.stats.cause import (
    CONCEPT,
    COVARIATE,
    FEWEST_ROWS,
    LABEL,
    QUALITY,
    UNDECIDED,
    Explained,
    Part,
    Samples,
    explain,
)
from afterfit.stats.cause_slices import moved_by, slices

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 50_000  # of each frame; of more, so many are drawn with the seed
LEVEL = 0.99  # of all bounds: a change that is called noise has 0 within
POWER = (2.576 + 0.842) / 2.576  # half-widths of a change that is found four times in five
SURELY = 1e-3  # p-value below which a relation that moved is told although it costs nothing yet
FEW_COMMON = 0.2  # share of common rows below which the answer says what it rests on
MEANING = {
    QUALITY: "rows that a feed broke; mend the feed, retraining on them would teach nonsense",
    COVARIATE: "other rows than before, each kind costs what it did; retrain if the new kinds can be learned",
    LABEL: "some outcomes became more common, each looks as it did; recalibrate or retrain",
    CONCEPT: "the same rows now turn out differently; retrain on new outcomes",
    UNDECIDED: "can't be told apart",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """What the shift of one feature adds to the mean loss by itself; features that go together share it."""

    feature: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A slice that carries more of the change than its share of the rows."""

    feature: str
    name: str
    extra_loss: float | None  # mean loss of its rows beyond what they cost in the reference; None: there were none
    of_rows: float  # share of the window's rows
    of_reference: float
    of_drop: float  # share of the change of the mean loss


@dataclass(frozen=True, slots=True)
class Broken:
    """A column that a check calls broken, and in which share of the window's rows."""

    column: str
    of_rows: float
    message: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why the mean loss changed; `str()` says it in words. The parts in `shares` add up to `drop`."""

    loss: str  # what is measured: Brier loss | absolute error
    reference_loss: float
    current_loss: float
    n_reference: int
    n_current: int
    unusable: int  # rows without an outcome, and reference rows without an answer
    explained: Explained
    features: tuple[Moved, ...]  # largest first
    segments: tuple[Segment, ...]  # largest first
    broken: tuple[Broken, ...]

    @property
    def drop(self) -> Part:
        """Mean loss of the current rows less that of the reference, with bounds: above 0 the model got worse."""
        return self.explained.drop

    @property
    def shares(self) -> Mapping[str, Part]:
        """By cause: data quality, covariate shift, label shift, concept, undecided."""
        return self.explained.parts

    @property
    def largest(self) -> str | None:
        """The cause with the largest part; None when there is no change to explain."""
        return self.explained.largest

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "loss": self.loss,
            "reference_loss": self.reference_loss,
            "current_loss": self.current_loss,
            "n_reference": self.n_reference,
            "n_current": self.n_current,
            "unusable": self.unusable,
            "largest": self.largest,
            "drop": asdict(self.drop),
            "shares": {cause: asdict(part) for cause, part in self.shares.items()},
            "reading": self.explained.reading,
            "fits": dict(self.explained.fits),
            "effective": list(self.explained.effective),
            "reason": self.explained.reason,
            "features": [asdict(f) for f in self.features],
            "segments": [asdict(s) for s in self.segments],
            "broken": [asdict(b) for b in self.broken],
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def cause(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    findings: Sequence[Finding],
    *,
    target: str,
    scores: str | Mapping[Any, str] | None,
    prediction: str | None,
    features: Sequence[str],
    seed: int,
) -> Cause:
    """See :func:`afterfit.cause`; `findings` are those of the features, of `current` beside `reference`."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    old, new = (_drawn(frame, rng) for frame in (reference, current))
    broken = broken_rows(old, new, findings, rng)
    whole = [c for c, (rows, _) in broken.items() if rows.all()]  # such a column tells nothing of the others
    usable = [f for f in features if f in old and f in new and f not in whole]
    wanted = [*usable, target, *names_of(scores), *([] if prediction is None else [prediction])]
    both = pd.concat([old[wanted], new[wanted]], ignore_index=True)
    is_window = np.arange(len(both)) >= len(old)
    judged = _judged(both, is_window, target, scores, prediction)
    bad = np.zeros(len(both), dtype=bool)
    bad[len(old) :] = np.any([*(rows for rows, _ in broken.values()), np.zeros(len(new), dtype=bool)], axis=0)
    kept = np.isfinite(judged.losses) & (is_window | ~judged.unanswered)
    bad = (bad | judged.unanswered)[kept]
    now = is_window[kept]
    if min(now.sum(), (~now).sum()) < FEWEST_ROWS:
        raise InputError(
            f"{(~now).sum()} reference rows and {now.sum()} current rows have an outcome and an answer; wanted "
            f"{FEWEST_ROWS} of each at least. Wait for more outcomes, or take longer stretches of time"
        )
    columns = [_kept(coded(f, both[f], is_window), kept) for f in usable]
    rows = _samples(judged, kept, now, bad, columns, broken, seed)
    explained = explain(rows, LEVEL)
    before, after = float(rows.losses[~now].mean()), float(rows.losses[now].mean())
    return Cause(
        judged.loss,
        before,
        after,
        int((~now).sum()),
        int(now.sum()),
        int((~kept).sum()),
        explained,
        _moved(rows, columns, now, bad),
        _segments(rows, columns, now, explained),
        _broken(broken),
    )


def _samples(
    judged: Judged, kept: Any, now: Any, bad: Any, columns: Sequence[Coded], broken: Mapping[str, Any], seed: int
) -> Samples:
    answers = judged.answers[kept]
    clean = ~bad
    member = np.full(len(now), 0.5)
    if (now & clean).sum() >= FEWEST_ROWS:
        member[clean] = membership([_kept(c, clean) for c in columns], answers[clean], now[clean], seed)
    odds = None
    if bad.sum() >= FEWEST_ROWS // 2:  # too few to learn what they have in common; then they are like all others
        intact = [c for c in columns if c.name not in broken]
        some = bad | ~now
        if intact:
            among = membership([_kept(c, some) for c in intact], np.empty((int(some.sum()), 0)), now[some], seed)
            odds = np.zeros(len(now))
            odds[some] = among / (1.0 - among)
    return Samples(
        judged.losses[kept],
        now,
        member,
        judged.labels[kept],
        judged.residuals[kept],
        answers,
        bad.astype(float),
        odds,
    )


def _judged(
    both: pd.DataFrame, is_window: Any, target: str, scores: str | Mapping[Any, str] | None, prediction: str | None
) -> Judged:
    if scores is None:
        outcome, answer = (
            _numbers(both, name, what) for name, what in ((target, "target"), (prediction, "prediction"))
        )
        return regressed(outcome, answer, is_window)
    outcome = both[target].astype(object).where(both[target].notna(), None).to_numpy()
    given = np.column_stack([_numbers(both, name, "scores") for name in names_of(scores)])
    if isinstance(scores, Mapping):
        classes: list[Any] = list(scores)
        if len(classes) < 2:
            raise InputError(f"scores = {dict(scores)!r}: wanted a column for each of two classes or more")
        if all(isinstance(c, str) for c in classes):  # the command line knows texts only
            outcome = np.array([None if o is None else str(o) for o in outcome], dtype=object)
    else:
        seen = {o for o in outcome if o is not None}
        if len(seen) != 2:
            raise InputError(
                f"target = {target!r} has the values {sorted(seen, key=str)[:5]}: one column of scores is for two classes. "
                "For more, give one column for each class: scores={'a': 'p_a', 'b': 'p_b', 'c': 'p_c'}"
            )
        classes, given = sorted(seen, key=_order), np.column_stack([1.0 - given, given])
    strange = sorted({str(o) for o in outcome if o is not None and o not in classes})
    if strange and not any(o in classes for o in outcome):
        raise InputError(f"target = {target!r} has the values {strange[:5]}, and scores name the classes {classes[:5]}")
    return classified(outcome, given, classes)


def _order(value: Any) -> tuple[int, Any]:
    return (0, float(value)) if isinstance(value, int | float | np.number | np.bool_) else (1, str(value))


def _numbers(frame: pd.DataFrame, name: str | None, what: str) -> Any:
    column = frame[name]
    try:
        return column.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        found = next((v for v in column if isinstance(v, str)), column.iloc[0])
        hint = "; for a classifier give scores=, its probabilities" if what in ("target", "prediction") else ""
        raise InputError(f"{what} = {name!r} holds values such as {found!r}; wanted numbers{hint}") from error


def _drawn(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    if len(frame) <= MOST_ROWS:
        return frame.reset_index(drop=True)
    return frame.iloc[np.sort(rng.choice(len(frame), MOST_ROWS, replace=False))].reset_index(drop=True)


def _kept(c: Coded, rows: Any) -> Coded:
    return Coded(c.name, None if c.numbers is None else c.numbers[rows], c.codes[rows], c.names)


def _moved(rows: Samples, columns: Sequence[Coded], now: Any, bad: Any) -> tuple[Moved, ...]:
    clean = (now & ~bad).astype(float)
    if clean.sum() < FEWEST_ROWS:
        return ()
    found = []
    for c in columns:
        mean = moved_by(rows.losses, (~now).astype(float), clean, c.codes)
        found.append(Moved(c.name, float(mean.value[0]), *mean.interval(LEVEL)))
    return tuple(sorted(found, key=lambda f: -abs(f.value)))


def _segments(rows: Samples, columns: Sequence[Coded], now: Any, explained: Explained) -> tuple[Segment, ...]:
    if not explained.significant:
        return ()
    tried = sum(len(c.names) for c in columns)
    was, all_now, drop = (~now).astype(float), now.astype(float), explained.drop.value
    found = [
        Segment(
            c.name,
            c.names[s.number],
            None if np.isnan(s.extra) else s.extra,
            s.of_window,
            s.of_reference,
            s.part / drop,
        )
        for c in columns
        for s in slices(rows.losses, was, all_now, c.codes, tried)
    ]
    return tuple(sorted(found, key=lambda s: s.of_rows - s.of_drop))


def _broken(broken: Mapping[str, tuple[Any, str]]) -> tuple[Broken, ...]:
    found = [Broken(column, float(rows.mean()), said) for column, (rows, said) in broken.items()]
    return tuple(sorted(found, key=lambda b: -b.of_rows))


def _common(c: Cause) -> float:
    """Effective share of rows that both have in common, of the sample with the smaller one."""
    return min(e / n for e, n in zip(c.explained.effective, (c.n_reference, c.n_current), strict=True))


def _surely(part: Part, least: float) -> bool:
    """Whether it is no noise, and as large as a change of the whole that would have been found."""
    return (part.low > 0.0 or part.high < 0.0) and abs(part.value) >= least


def _lines(c: Cause) -> list[str]:
    d, rows = c.drop, f"{c.n_reference:,} reference and {c.n_current:,} current rows"
    ends = (
        f"{c.loss} {c.reference_loss:.4g} → {c.current_loss:.4g} ({d.value:+.4f}, 99 %: {d.low:+.4f} to {d.high:+.4f})"
    )
    if c.largest is None:
        least = POWER * (d.high - d.low) / 2.0
        first = [
            f"No drop to explain: {ends} on {rows} is within noise.",
            f"A change of {least:.4f} or more would be found four times in five with so many rows.",
        ]
        sure = [f"{name} ({part.value:+.4f})" for name, part in c.shares.items() if _surely(part, least)]
        if sure:
            first.append(f"Yet {' and '.join(sure)} moved it, which something else or noise makes up for.")
        fits = c.explained.fits.values()
        if fits and max(fits) < SURELY:
            first.append(
                f"Yet the same rows turn out differently (p = {max(fits):.1g}), though it costs little so far."
            )
    else:
        way = "The model got worse" if d.value > 0 else "The model got better"
        share = c.shares[c.largest].share or 0.0
        first = [f"{way}, mainly by {c.largest} ({share:.0%}): {MEANING[c.largest]}.", f"{ends} on {rows}"]
        if c.largest == UNDECIDED:
            reason = c.explained.reason or "no cause stands out from what chance may do"
            first = [f"{way}; why is undecided: {reason}.", f"{ends} on {rows}"]
    for name, part in c.shares.items():
        if part.value or name in (QUALITY, COVARIATE, CONCEPT):
            share_said = f"{part.share:>6.0%}" if part.share is not None else " " * 6
            first.append(f"  {name:<16}{share_said}  {part.value:+.4f} ({part.low:+.4f} to {part.high:+.4f})")
    if c.explained.reason and c.largest != UNDECIDED:
        first.append(f"Note: {c.explained.reason}.")
    if c.explained.fits and _common(c) < FEW_COMMON:
        first.append(f"Note: concept is judged on the {_common(c):.0%} of rows whose like occurs in both.")
    first += [f"Broken: {b.message} ({b.of_rows:.0%} of the rows)" for b in c.broken[:3]]
    for s in c.segments[:3]:
        extra = "new" if s.extra_loss is None else f"{s.extra_loss:+.3f} loss"
        grown = f" (was {s.of_reference:.0%})" if abs(s.of_rows - s.of_reference) > 0.02 else ""
        first.append(
            f"Where: {s.feature}={s.name}: {extra} on {s.of_rows:.0%} of rows{grown}, {s.of_drop:.0%} of the change"
        )
    moving = (
        [f for f in c.features[:3] if f.low > 0 or f.high < 0] if abs(c.shares[COVARIATE].share or 0.0) > 0.1 else []
    )
    if moving:
        first.append("Shifted: " + ", ".join(f"{f.feature} {f.value:+.4f}" for f in moving) + " (each by itself)")
    return first
