"""Verdicts: who won, how sure that is, and what it would take to know better."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from adapters.errors import InvalidInput
from advisor.verdict import Played, chance, holm, mcnemar, rows_needed, verdict


def right(count: int, n: int) -> tuple[float, ...]:
    return tuple(float(number < count) for number in range(n))


def test_a_clear_winner_wins_whatever_it_costs() -> None:
    found = verdict({"dear": Played(right(90, 100), 10.0), "cheap": Played(right(40, 100), 1.0)})
    assert (found.winner, found.is_clear) == ("dear", True)
    assert found.comparisons[0].difference.interval[0] > 0.3


def test_without_a_clear_winner_the_cheaper_is_taken_and_the_rows_that_would_tell_are_named() -> None:
    n = 60
    dear = tuple(float(number % 3 != 0) for number in range(n))
    cheap = tuple(float(number % 3 != 1 and number > 2) for number in range(n))
    found = verdict({"dear": Played(dear, 10.0), "cheap": Played(cheap, 1.0)})
    assert (found.leader, found.winner, found.is_clear) == ("dear", "cheap", False)
    assert "no clear winner by 60 rows" in found.reason
    assert "rows would tell" in found.reason


def test_an_arm_that_is_worse_is_not_taken_because_it_is_cheap() -> None:
    arms = {"a": Played(right(80, 100), 5.0), "b": Played(right(78, 100), 4.0), "bad": Played(right(20, 100), 0.1)}
    assert verdict(arms).winner == "b"


def test_many_arms_are_many_chances_to_be_lucky() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.integers(0, 60), st.integers(1, 60))
def test_mcnemar_is_the_exact_binomial_test(ours: int, both: int) -> None:
    ours = min(ours, both)
    assert mcnemar(ours, both) == pytest.approx(binomtest(ours, both).pvalue)


def test_graded_answers_are_compared_by_flipping_signs() -> None:
    rng = random.Random(1)
    ours = [rng.random() for _ in range(40)]
    assert chance(ours, [value - 0.2 for value in ours]) < 0.001
    noise = [value + rng.gauss(0, 0.2) for value in ours]
    assert chance(ours, noise) > 0.05
    assert chance(ours, noise) == chance(ours, noise), "seeded"


def test_rows_needed_are_those_of_the_tables() -> None:
    # published: 10 points, 155 to 234 rows at a discordance of .2 to .3; 5 points, 626 at .2
    assert rows_needed(0.10, 0.2) == pytest.approx(155, abs=5)
    assert rows_needed(0.10, 0.3) == pytest.approx(234, abs=5)
    assert rows_needed(0.05, 0.2) == pytest.approx(626, abs=5)
    with pytest.raises(InvalidInput):
        rows_needed(0.3, 0.2)


def test_arms_must_have_been_asked_the_same() -> None:
    with pytest.raises(InvalidInput):
        verdict({"a": Played((1.0,), 1.0), "b": Played((1.0, 0.0), 1.0)})
    with pytest.raises(InvalidInput):
        verdict({})


def test_when_nothing_differs_false_winners_are_as_rare_as_promised() -> None:
    rng, clear = random.Random(7), 0
    for _ in range(200):
        arms = {
            name: Played(tuple(float(rng.random() < 0.6) for _ in range(50)), cost)
            for name, cost in (("a", 1), ("b", 2), ("c", 3))
        }
        found = verdict(arms)
        clear += any(one.is_clear for one in found.comparisons)
    assert clear <= 0.15 * 200  # the leader is chosen after the fact, so somewhat above 5 %
