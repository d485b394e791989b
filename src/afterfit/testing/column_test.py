"""Laws of every :class:`afterfit.ports.ColumnTest`: subclass, say how yours is made, and let pytest run it in your own CI."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np
from scipy.stats import binom

from afterfit.ports import ColumnTest, Compared
from afterfit.stats.profile import Categorical, Column, Numeric, column_to_dict

MISTAKE = 1e-4  # chance that a test which keeps its promise exactly fails at one level and one kind of column
ROWS = (1000, 200)  # of reference and window
Draw = Callable[[np.random.Generator, int], Column]


def _names(rng: np.random.Generator, n: int, shares: tuple[float, ...] = (0.5, 0.3, 0.15, 0.05)) -> Column:
    return Categorical.of(rng.choice(np.array(["a", "b", "c", "d"], dtype=object), n, p=shares))


HEALTHY: dict[str, Draw] = {
    "normal": lambda rng, n: Numeric.of(rng.normal(50.0, 10.0, n)),
    "heavy": lambda rng, n: Numeric.of(rng.standard_t(2, n)),
    "counts": lambda rng, n: Numeric.of(rng.poisson(3, n).astype(float), kind="integer"),
    "nulls": lambda rng, n: Numeric.of(np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))),
    "names": _names,
}
MOVED: dict[str, Draw] = {  # far away from the healthy column of the same name
    "normal": lambda rng, n: Numeric.of(rng.normal(100.0, 10.0, n)),
    "names": lambda rng, n: _names(rng, n, (0.05, 0.15, 0.3, 0.5)),
}
ODD: dict[str, Callable[[], Column]] = {
    "empty": lambda: Numeric.of([]),
    "all null": lambda: Numeric.of(np.full(100, np.nan)),
    "constant": lambda: Numeric.of(np.full(100, 7.0)),
    "one value": lambda: Numeric.of([7.0]),
    "infinite": lambda: Numeric.of([np.inf, -np.inf] * 50),
    "huge": lambda: Numeric.of([1e300, -1e300] * 50),
    "no name": lambda: Categorical.of([None] * 100),
    "one name": lambda: Categorical.of(["a"] * 100),
}


class ColumnTestLaws:
    """`class TestMine(ColumnTestLaws)` with `make`; a law that yours can't keep is overridden, with the reason beside it.

    Attributes:
        pairs: healthy pairs a kind of column; the bound is exact for any number.
        levels: at which p-values are counted.
        obvious: p-value that a test must reach where everything moved. A budget over twenty columns asks for about 1e-4; a
            p-value from a table that ends at 0.001 can never alarm there.
    """

    pairs = 400
    levels = (0.05, 0.01)
    obvious = 1e-6

    def make(self) -> ColumnTest:
        """A new test, ready for use."""
        raise TypeError(f"{type(self).__name__} must say how its test is made: def make(self) -> ColumnTest")

    def test_it_has_a_name(self) -> None:
        """The same in each of them, and not empty."""
        assert self.make().name
        assert self.make().name == self.make().name

    def test_it_accepts_some_kind_of_column_and_always_the_same(self) -> None:
        """What it refuses is told by `accepts`, from the reference alone; an odd column is no reason to raise."""
        rng = np.random.default_rng(0)
        columns = [draw(rng, 100) for draw in HEALTHY.values()] + [draw() for draw in ODD.values()]
        told = [[self.make().accepts(column) for column in columns] for _ in range(2)]
        assert told[0] == told[1], "accepts must answer the same each time"
        assert any(told[0][: len(HEALTHY)]), f"it accepts none of {', '.join(HEALTHY)}"

    def test_the_same_columns_give_the_same_answer(self) -> None:
        """Also from a test that has answered before; and neither column is changed."""
        used = self.make()
        for reference, window in self._accepted():
            before = [column_to_dict(c) for c in (reference, window)]
            first = used.compare(reference, window)
            assert used.compare(reference, window) == first
            assert self.make().compare(reference, window) == first
            assert [column_to_dict(c) for c in (reference, window)] == before, "it must not change its columns"

    def test_answers_are_numbers_whichever_side_comes_first(self) -> None:
        """(statistic, distance, p-value) are finite, and the p-value lies between 0 and 1."""
        for reference, window in self._accepted():
            self._check(self.make().compare(reference, window))
            self._check(self.make().compare(window, reference))

    def test_odd_columns_are_answered(self) -> None:
        """Empty, constant or all null, on either side or both: an answer, and without any value on one side a p-value of 1."""
        test = self.make()
        rng = np.random.default_rng(1)
        for odd in ODD.values():
            for other in [draw(rng, 100) for draw in HEALTHY.values()] + [draw() for draw in ODD.values()]:
                for reference, window in ((odd(), other), (other, odd())):
                    if type(reference) is type(window) and test.accepts(reference):
                        found = self._check(test.compare(reference, window))
                        if not reference.values or not window.values:
                            assert found.p_value == 1.0, "no values are no evidence: p-value 1"

    def test_false_alarms_keep_to_their_level(self) -> None:
        """Over seeded healthy pairs, p <= alpha no more often than chance allows a test that keeps its promise exactly.

        Such a test fails here with a chance of at most MISTAKE for each kind of column and level: below 1 in 1,000 in all.
        """
        test = self.make()
        for kind, draw in HEALTHY.items():
            rng = np.random.default_rng(2)
            if not test.accepts(draw(rng, ROWS[0])):
                continue
            found = np.array([test.compare(draw(rng, ROWS[0]), draw(rng, ROWS[1])).p_value for _ in range(self.pairs)])
            for alpha in self.levels:
                alarms, most = int((found <= alpha).sum()), int(binom.isf(MISTAKE, self.pairs, alpha))
                assert alarms <= most, (
                    f"{kind}: {alarms} of {self.pairs} healthy pairs at p <= {alpha}, wanted <= {most}"
                )

    def test_what_moved_far_is_found(self) -> None:
        """In one of the kinds that it accepts, with a p-value small enough for a budget."""
        test, rng = self.make(), np.random.default_rng(3)
        found = {
            kind: test.compare(HEALTHY[kind](rng, ROWS[0]), moved(rng, ROWS[1])).p_value
            for kind, moved in MOVED.items()
            if test.accepts(HEALTHY[kind](rng, ROWS[0]))
        }
        assert min(found.values()) <= self.obvious, f"p-values {found} where all values moved, wanted <= {self.obvious}"

    def _accepted(self) -> list[tuple[Column, Column]]:
        test, rng = self.make(), np.random.default_rng(4)
        pairs = [(draw(rng, ROWS[0]), draw(rng, ROWS[1])) for draw in HEALTHY.values()]
        return [(reference, window) for reference, window in pairs if test.accepts(reference)]

    @staticmethod
    def _check(found: Compared) -> Compared:
        statistic, distance, p_value = (float(v) for v in found)
        assert isfinite(statistic), f"statistic {statistic}: wanted a finite number"
        assert isfinite(distance), f"distance {distance}: wanted a finite number"
        assert 0.0 <= p_value <= 1.0, f"p-value {p_value}: wanted one between 0 and 1"
        return Compared(statistic, distance, p_value)
