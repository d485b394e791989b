"""What requests leave behind: counters that one gateway process adds to as it answers. `metrics.py` makes the page of them.

All of it happens on the event loop, so there is no lock, and a request adds some hundred nanoseconds. No caller can make
a label: names that are not routed are counted together as `unknown`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from afterfit.errors import AfterfitError, StoreError, WorkerError
from afterfit.gateway.fleet import Lane
from afterfit.gateway.protocols.reply import Headers
from afterfit.gateway.signature import SignatureError
from afterfit.records import Prediction

BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
)  # fmt: skip  # seconds, upper ends of the buckets
PREDICT, OUTCOMES, OTHER = "predict", "outcomes", "other"
UNKNOWN = "unknown"
_OPERATIONS = {"predict": PREDICT, "infer": PREDICT, "invocations": PREDICT, "outcomes": OUTCOMES}
_REASONS = {
    400: "input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method",
    409: "duplicate",
    413: "too_large",
    429: "too_many",
}
_MOST_SEEN = 2048  # ways of a request to its series that are remembered

Series = list[float]  # a count a bucket, one more for what is above all bounds, and the sum of seconds
Who = tuple[str, int, str, str, str]  # model, version, role, lane, status of rows
Place = tuple[str, str, str, str, str, str]  # operation, model, version, role, lane, status of a reply


class Tally:
    """Counts since the process started.

    Args:
        models: the names that are routed now.

    >>> tally = Tally(lambda: ["tumour"])
    >>> tally.request("/v1/models/tumour/outcomes", 200, [], 0.004)
    >>> tally.request("/v1/models/guess/predict", 404, [], 0.0003)
    >>> [place[:2] for place in tally.requests]
    [('outcomes', 'tumour'), ('predict', 'unknown')]
    """

    def __init__(self, models: Callable[[], Collection[str]]) -> None:
        self.requests: dict[Place, Series] = {}
        self.errors: Counter[tuple[str, str]] = Counter()  # model, reason
        self.rows: dict[Who, list[int]] = {}  # one number each
        self.outcomes: Counter[tuple[str, str]] = Counter()  # model, what became of it
        self._models = models
        self._seen: dict[tuple[object, ...], Series] = {}

    def request(self, path: str, status: int, headers: Headers, seconds: float) -> None:
        """One request was answered after so many seconds; what `answered_by` says stands among the first four headers."""
        way = (path, status, *headers[:4])  # the content type, and who answered
        series = self._seen.get(way)
        if series is None:
            series = self._series(path, status, headers)
            if status < 400 and path != "/invocations":  # else the path may be anything, or mean another model tomorrow
                if len(self._seen) >= _MOST_SEEN:
                    self._seen.clear()
                self._seen[way] = series
        series[bisect_left(BOUNDS, seconds)] += 1
        series[-1] += seconds

    def error(self, path: str, status: int, error: AfterfitError | None) -> None:
        """One request was refused or failed; `error` is None for a defect of ours."""
        reason = _REASONS.get(status, "input")
        if status >= 500:
            kinds = {StoreError: "log", WorkerError: "no_answer"}
            reason = next((why for kind, why in kinds.items() if isinstance(error, kind)), "defect")
        elif isinstance(error, SignatureError):
            reason = "signature"
        self.errors[self.meaning(path)[1], reason] += 1

    def answered(self, lane: Lane, rows: Sequence[Prediction], *, alike: bool) -> None:
        """Rows of one request, as their caller gets them; alike: one version answered all of them in one way."""
        if alike:
            first = rows[0]
            self._add(lane, first.version, first.role, first.status, len(rows))
            return
        for (version, role, status), n in Counter((row.version, row.role, row.status) for row in rows).items():
            self._add(lane, version, role, status, n)

    def meaning(self, path: str) -> tuple[str, str]:
        """(operation, model) of a path; the model is empty where the path names none."""
        match path.split("/"):
            case ["", "invocations"]:
                models = self._models()
                return PREDICT, next(iter(models)) if len(models) == 1 else UNKNOWN
            case ["", "v1" | "v2", "models", model, *rest]:
                operation = _OPERATIONS.get(rest[-1], OTHER) if rest else OTHER
                return operation, model if model in self._models() else UNKNOWN
        return OTHER, ""

    def _add(self, lane: Lane, version: int, role: str, status: str, n: int) -> None:
        who = (lane.routes.model, version, role, lane.kind(version), status)
        count = self.rows.get(who)
        if count is None:
            count = self.rows[who] = [0]
        count[0] += n

    def _series(self, path: str, status: int, headers: Headers) -> Series:
        told = dict(headers)
        version, role, kind = (told.get(b"x-afterfit-" + what, b"").decode() for what in (b"version", b"role", b"lane"))
        place = (*self.meaning(path), version, role, kind, str(status))
        return self.requests.setdefault(place, [0.0] * (len(BOUNDS) + 2))
