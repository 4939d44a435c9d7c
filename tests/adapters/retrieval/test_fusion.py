"""Two rankings made one: each passage's votes count by its ranks, and by how well it was found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.retrieval.fusion import fused

SURE = dict.fromkeys(range(10), 1.0)


def test_with_equal_finds_it_is_reciprocal_rank_fusion() -> None:
    assert fused([1, 2, 3], [3, 1, 4], 0.5, SURE, SURE) == [1, 3, 2, 4]
    assert fused([1, 2, 3], [3, 1, 4], 0.0, SURE, SURE)[:3] == [1, 2, 3]
    assert fused([1, 2, 3], [3, 1, 4], 1.0, SURE, SURE)[:3] == [3, 1, 4]
    assert fused([], [2, 1], 0.3, SURE, SURE) == [2, 1]


def test_the_best_of_a_ranking_that_found_little_does_not_outvote_what_was_found() -> None:
    little = SURE | {3: 0.1}
    assert fused([1, 3], [3, 1], 0.6, SURE, SURE)[0] == 3
    assert fused([1, 3], [3, 1], 0.6, SURE, little)[0] == 1


@given(st.permutations(range(8)), st.permutations(range(8)), st.floats(0, 1))
def test_every_passage_stays_and_one_that_is_first_twice_is_first(dense: list[int], lexical: list[int], weight: float) -> None:
    first = dense[0]
    lexical = [first, *(row for row in lexical if row != first)]
    order = fused(dense, lexical, weight, SURE, SURE)
    assert order[0] == first
    assert sorted(order) == sorted(dense)
