"""Somebody's own tests run beside ours, share the budget, and break nothing but themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, cramervonmises_2samp, epps_singleton_2samp, mannwhitneyu

import afterfit as af
from afterfit.errors import InputError
from afterfit.monitoring.checks import FEW_ROWS
from afterfit.monitoring.report import Report
from afterfit.ports import ColumnTest, Compared
from afterfit.records import Severity
from afterfit.stats import chi2, ks
from afterfit.stats.expand import expanded
from afterfit.stats.profile import Categorical, Column, Numeric
from afterfit.testing.column_test import ColumnTestLaws


class KolmogorovSmirnov:
    """Ours, of two numeric profiles."""

    name = "Kolmogorov-Smirnov"

    def accepts(self, reference: Column) -> bool:
        return isinstance(reference, Numeric)

    def compare(self, reference: Column, window: Column) -> Compared:
        assert isinstance(reference, Numeric)
        assert isinstance(window, Numeric)
        d = ks.distance(reference, window)
        return Compared(d, d, ks.p_value(d, reference.values, window.values))


class ChiSquared:
    """Ours, of two categorical profiles."""

    name = "chi-squared"

    def accepts(self, reference: Column) -> bool:
        return isinstance(reference, Categorical)

    def compare(self, reference: Column, window: Column) -> Compared:
        assert isinstance(reference, Categorical)
        assert isinstance(window, Categorical)
        distance = chi2.total_variation(reference, window)
        return Compared(distance, distance, chi2.p_value(reference, window))


class MannWhitney:
    """scipy's, on values taken from the profile: a small shift of everything, which the largest gap hardly sees."""

    name = "Mann-Whitney"

    def accepts(self, reference: Column) -> bool:
        return isinstance(reference, Numeric)

    def compare(self, reference: Column, window: Column) -> Compared:
        x, y = expanded(reference, window)
        if not len(x) or not len(y) or np.ptp([*x, *y]) == 0.0:
            return Compared(0.0, 0.0, 1.0)
        found = mannwhitneyu(x, y)
        return Compared(float(found.statistic), abs(2.0 * found.statistic / (len(x) * len(y)) - 1.0), found.pvalue)


class CramerVonMises:
    """scipy's takes ties for evidence, so it refuses columns of few distinct values."""

    name = "Cramér-von Mises"

    def accepts(self, reference: Column) -> bool:
        return isinstance(reference, Numeric) and reference.counts.max(initial=0) <= 0.01 * reference.values

    def compare(self, reference: Column, window: Column) -> Compared:
        x, y = expanded(reference, window)
        if min(len(x), len(y)) < 2:
            return Compared(0.0, 0.0, 1.0)
        found = cramervonmises_2samp(x, y)
        return Compared(float(found.statistic), float(found.statistic) / (len(x) + len(y)), float(found.pvalue))


class TestKolmogorovSmirnov(ColumnTestLaws):
    def make(self) -> KolmogorovSmirnov:
        return KolmogorovSmirnov()


class TestChiSquared(ColumnTestLaws):
    def make(self) -> ChiSquared:
        return ChiSquared()


class TestCramerVonMises(ColumnTestLaws):
    def make(self) -> CramerVonMises:
        return CramerVonMises()


class TestMannWhitney(ColumnTestLaws):
    def make(self) -> MannWhitney:
        return MannWhitney()


@dataclass
class Scripted(KolmogorovSmirnov):
    """Answers what it is told to, and remembers what it was asked."""

    answer: tuple[float, ...] | Exception = (0.0, 0.0, 1.0)
    name: str = "scripted"
    asked: list[tuple[Column, Column]] = field(default_factory=list)

    def compare(self, reference: Column, window: Column) -> Compared:
        self.asked.append((reference, window))
        if isinstance(self.answer, Exception):
            raise self.answer
        return Compared(*self.answer)


def frames(n: int = 200, moved: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    old = pd.DataFrame({"a": rng.normal(size=1000), "b": rng.normal(size=1000), "place": ["x", "y"] * 500})
    new = pd.DataFrame({"a": rng.normal(moved, 1, n), "b": rng.normal(size=n), "place": (["x", "y"] * n)[:n]})
    return old, new


def theirs(report: Report) -> list[tuple[str, str, bool]]:
    return [(f.column, f.check, f.drifted) for f in report.findings if f.check.startswith("extension")]


def test_it_runs_beside_ours_in_the_columns_that_it_accepts() -> None:
    report = af.compare(*frames(moved=2.0), tests=[MannWhitney()])
    assert theirs(report) == [("a", "extension", True), ("b", "extension", False)]
    finding = next(f for f in report.drifted if f.check == "extension")
    assert (finding.method, finding.severity) == ("Mann-Whitney", Severity.WARNING)
    assert "a: Mann-Whitney finds a change" in finding.message
    assert {"drift", "nulls"} <= {f.check for f in report.findings if f.column == "a"}
    assert "extension" in report.to_html()
    assert report.to_dict()["findings"]


def test_the_budget_is_shared() -> None:
    """Three columns, two of them accepted: 17 parts, of which theirs are 2, and ours keep the other 15."""
    alone, both = af.compare(*frames(), budget=0.17), af.compare(*frames(), budget=0.17, tests=[Scripted()])
    mine = [f for f in both.findings if f.check == "extension"]
    assert [f.threshold for f in mine] == pytest.approx([0.01, 0.01])
    ours = [f.threshold for f in both.findings if f.check != "extension"]
    assert ours == pytest.approx([f.threshold * 15 / 17 for f in alone.findings])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ZeroDivisionError("by zero"), "scripted raised ZeroDivisionError: by zero"),
        ((1.0, 1.0, 1.5), "wanted finite numbers and a p-value between 0 and 1"),
        ((1.0, 1.0, float("nan")), "wanted finite numbers"),
        ((float("inf"), 1.0, 0.5), "wanted finite numbers"),
    ],
)
def test_one_that_fails_is_a_finding_and_hides_no_other(answer: tuple[float, ...] | Exception, said: str) -> None:
    report = af.compare(*frames(moved=2.0), tests=[Scripted(answer), MannWhitney()])
    failed = [f for f in report.drifted if f.check == "extension_failed"]
    assert [f.column for f in failed] == ["a", "b"]
    assert all(said in f.message and "the extension failed" in f.message for f in failed)
    assert ("a", "extension", True) in theirs(report)
    assert any(f.check == "drift" and f.column == "a" for f in report.drifted)
    assert "extension failed" in report.to_html()


def test_one_that_can_not_say_what_it_accepts_fails_too() -> None:
    class Broken(KolmogorovSmirnov):
        def accepts(self, reference: Column) -> bool:
            raise KeyError("kind")

    report = af.compare(*frames(), tests=[Broken()])
    assert theirs(report) == [(c, "extension_failed", True) for c in ("a", "b", "place")]


@pytest.mark.parametrize("n", [0, 5, FEW_ROWS - 1])
def test_it_is_not_asked_where_there_is_nothing_to_compare(n: int) -> None:
    asked = Scripted()
    af.compare(*frames(n), tests=[asked])
    assert asked.asked == []
    old, new = frames()
    af.compare(old, new.assign(a=np.nan, b=["text"] * len(new)), tests=[asked])
    assert asked.asked == []
    af.compare(old, new.drop(columns="a"), tests=[asked])
    assert len(asked.asked) == 1


def test_the_answers_of_the_model_are_a_column_too() -> None:
    old, new = frames(moved=2.0)
    report = af.compare(old, new, prediction="a", tests=[MannWhitney()])
    assert ("prediction", "extension", True) in theirs(report)


@pytest.mark.parametrize("tests", [[KolmogorovSmirnov], ["ks"], [Scripted(name="")], [Scripted(), Scripted()]])
def test_what_is_no_test_is_refused(tests: Any) -> None:
    with pytest.raises(InputError, match="tests: "):
        af.compare(*frames(), tests=tests)


def test_the_whole_budget_holds_with_tests_beside_ours() -> None:
    """200 healthy windows at a budget of 20 %: more alarms than the bound with a chance below 1e-4."""
    rng = np.random.default_rng(1)
    old = af.profile(pd.DataFrame({c: rng.normal(size=5000) for c in "abc"}))
    tests: list[ColumnTest] = [KolmogorovSmirnov(), MannWhitney()]
    alarms = 0
    for _ in range(200):
        new = af.profile(pd.DataFrame({c: rng.normal(size=300) for c in "abc"}))
        alarms += bool(af.compare(old, new, budget=0.2, tests=tests).drifted)
    assert alarms <= binom.isf(1e-4, 200, 0.2)


def test_tests_that_break_their_promises_are_found_out() -> None:
    """The laws fail for each test that breaks one."""

    class Loud(KolmogorovSmirnov):
        def compare(self, reference: Column, window: Column) -> Compared:
            found = super().compare(reference, window)
            return found._replace(p_value=found.p_value / 3)

    class Deaf(KolmogorovSmirnov):
        def compare(self, reference: Column, window: Column) -> Compared:
            found = super().compare(reference, window)
            return found._replace(p_value=max(0.001, found.p_value))

    class Random(KolmogorovSmirnov):
        def compare(self, reference: Column, window: Column) -> Compared:
            return Compared(0.0, 0.0, float(np.random.default_rng().random()))

    for broken, law in (
        (Loud(), "test_false_alarms_keep_to_their_level"),
        (Deaf(), "test_what_moved_far_is_found"),
        (Random(), "test_the_same_columns_give_the_same_answer"),
        (Scripted((float("nan"), 0.0, 1.0)), "test_answers_are_numbers_whichever_side_comes_first"),
        (Scripted((0.0, 0.0, 0.5)), "test_odd_columns_are_answered"),
        (Scripted(name=""), "test_it_has_a_name"),
    ):
        laws = type("Laws", (ColumnTestLaws,), {"make": lambda self, broken=broken: broken})()
        with pytest.raises(AssertionError):
            getattr(laws, law)()


def test_the_laws_find_what_is_wrong_with_two_tests_of_scipy() -> None:
    """Cramér-von Mises takes ties for a change; Epps-Singleton alarms twice as often as it says (1.17)."""

    class WithTies(CramerVonMises):
        def accepts(self, reference: Column) -> bool:
            return isinstance(reference, Numeric) and reference.kind == "integer"

    class EppsSingleton(CramerVonMises):
        def compare(self, reference: Column, window: Column) -> Compared:
            statistic, p_value = epps_singleton_2samp(*expanded(reference, window))
            return Compared(float(statistic), 0.0, float(p_value))

    for broken, said in ((WithTies(), "counts: 400 of 400"), (EppsSingleton(), "normal: ")):
        laws = type("Laws", (ColumnTestLaws,), {"make": lambda self, broken=broken: broken, "pairs": 400})()
        if isinstance(broken, EppsSingleton):
            laws.pairs = 1000
        with pytest.raises(AssertionError, match=said):
            laws.test_false_alarms_keep_to_their_level()
