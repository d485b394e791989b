"""What a caller gets when no version answers: nothing, a constant, what training would guess, or the key's last answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from afterfit.config import LAST, NO_FALLBACK, PRIOR
from afterfit.errors import StoreError
from afterfit.gateway.workers import Answer
from afterfit.records import ModelVersion, Value

MOST_KEPT = 50_000  # keys whose last answer is remembered, per model; the one that came longest ago goes first

One = tuple[Value, list[float] | None]  # prediction and scores of one row


class LastAnswers:
    """The last answer that a version gave for each key, of the newest keys.

    >>> kept = LastAnswers(most=1)
    >>> kept.remember(["a", "b"], ([0, 1], None))
    >>> kept.recall(["b"]), kept.recall(["a", "b"])
    (([1], None), None)
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._answers: OrderedDict[str, One] = OrderedDict()

    def remember(self, keys: Sequence[str], answer: Answer) -> None:
        """Keep these answers."""
        predictions, scores = answer
        for i, key in enumerate(keys):
            self._answers[key] = predictions[i], None if scores is None else scores[i]
            self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def recall(self, keys: Sequence[str]) -> Answer | None:
        """The last answers of these keys; None when one of them has none."""
        found = [self._answers.get(key) for key in keys]
        return _joined([one for one in found if one is not None]) if None not in found else None


class Fallback:
    """One model's.

    Args:
        wanted: of `[models.NAME]`.
        version: the champion, whose training gives the prior and whose classes a constant must be one of.
        last: where last answers are kept.

    Attributes:
        problem: why there will be no fallback though one is wanted; empty when all is well.
        last: where to keep answers; None unless they are wanted.
    """

    def __init__(self, wanted: Value, version: ModelVersion, last: LastAnswers) -> None:
        self.problem = ""
        self.last = last if wanted == LAST else None
        self._one: One | None = None
        if wanted == PRIOR:
            self._one = self._prior(version)
        elif wanted not in (NO_FALLBACK, LAST):
            self._one = self._constant(wanted, version)

    def answer(self, keys: Sequence[str]) -> Answer | None:
        """The fallback for rows with these keys; None when there is none."""
        if self.last is not None:
            return self.last.recall(keys)
        return None if self._one is None else _joined([self._one] * len(keys))

    def _prior(self, version: ModelVersion) -> One | None:
        try:
            return read_prior(version.folder)
        except StoreError as error:
            self.problem = f'fallback = "prior": {error}; until then a 503 answers'
            return None

    def _constant(self, wanted: Value, version: ModelVersion) -> One | None:
        classes = version.classes
        if classes is None:
            if isinstance(wanted, int | float) and not isinstance(wanted, bool):
                return float(wanted), None
            self.problem = f"fallback = {wanted!r}: the model answers numbers; wanted one, until then a 503 answers"
            return None
        for label in classes:
            if label == wanted and isinstance(label, bool) == isinstance(wanted, bool):
                return label, None
        self.problem = f"fallback = {wanted!r}: wanted one of {list(classes)[:10]}, until then a 503 answers"
        return None


def read_prior(folder: Path | str) -> One:
    """What the training target alone says: the most frequent label and all shares, or the mean.

    Raises:
        StoreError: it is not there, or can't be read.
    """
    path = Path(folder) / "prior.json"
    try:
        kept = msgspec.json.decode(path.read_bytes())
        return kept["prediction"], kept["scores"]
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing, the version is of an older release: register it again") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} can't be read: {error}; restore it, or register the version again") from error


def _joined(rows: Sequence[One]) -> Answer:
    scores = [s for _, s in rows if s is not None]
    return [p for p, _ in rows], scores if len(scores) == len(rows) else None
