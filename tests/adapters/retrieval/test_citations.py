"""A part of an answer is led back to the span of the source that it stands on, or to none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.retrieval.citations import Cited, cite

SOURCE = (
    "Built in 1802. The mill of Aldermoor is kept by Orla Tansley. It grinds rye.\n\nThe ferry runs at noon. Bram steers it."
)
PASSAGES = [Cited(SOURCE[15:76], 15), Cited(SOURCE[78:], 78)]


def supported(answer: str) -> list[tuple[str, str]]:
    """What is cited for, and the span of the source that supports it."""
    return [(answer[: found.index], SOURCE[found.start : found.end]) for found in cite(answer, PASSAGES)]


def test_each_sentence_is_led_to_the_span_that_holds_its_words() -> None:
    assert supported("Orla Tansley keeps the mill. I like cheese. The ferry runs at noon!") == [
        ("Orla Tansley keeps the mill.", "The mill of Aldermoor is kept by Orla Tansley."),
        ("Orla Tansley keeps the mill. I like cheese. The ferry runs at noon!", "The ferry runs at noon."),
    ]


def test_two_sentences_in_a_row_may_support_one() -> None:
    assert supported("Bram steers the ferry at noon.") == [
        ("Bram steers the ferry at noon.", "The ferry runs at noon. Bram steers it.")
    ]


@pytest.mark.parametrize("answer", ["", "I do not know.", "The harbour is closed in winter.", "The the the.", "Yes."])
def test_what_no_passage_says_is_not_cited(answer: str) -> None:
    assert supported(answer) == []


def test_markers_are_taken_at_their_word_where_the_passage_was_shown() -> None:
    assert supported("Orla Tansley [1]. It runs at noon [2]. Nobody [3], not even [0].") == [
        ("Orla Tansley ", "The mill of Aldermoor is kept by Orla Tansley."),
        ("Orla Tansley [1]. It runs at noon ", "The ferry runs at noon."),
    ]
    assert supported("[2]") == [("", "The ferry runs at noon. Bram steers it.")]
    assert supported("A list[7] of the ferry at noon.")[0][1] == "The ferry runs at noon."


def test_a_short_answer_is_cited_by_its_one_word() -> None:
    assert [span for _, span in supported("1802")] == []
    assert [span for _, span in supported("Bram.")] == ["Bram steers it."]


@given(
    st.text(st.sampled_from("ab .!?\n[]12ä"), max_size=60),
    st.lists(st.text(st.sampled_from("ab .!?\n"), max_size=40), max_size=4),
)
def test_spans_lie_in_their_passage_whatever_is_said(answer: str, texts: list[str]) -> None:
    for found in cite(answer, [Cited(text, 100) for text in texts]):
        assert 100 <= found.start <= found.end <= 100 + len(texts[found.passage_number])
        assert 0 <= found.index <= len(answer)
