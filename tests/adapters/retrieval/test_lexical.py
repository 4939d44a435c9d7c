"""Passages are found by their words: identifiers and codes too, rarer words first, and only where allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.retrieval import lexical
from adapters.retrieval.lexical import Lexical
from adapters.retrieval.words import telling, words

TEXTS = [
    "Set --max-loras to the number of adapters that one batch may use.",
    "Error E1234 means that the disk is full. Read about the disk below.",
    "Call foo_bar() with the name of the disk, in version 3.11 or later.",
    "Straße und Café: naïve Überraschung.",
    "The who plays, and the of and to.",
    "",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Lexical:
    folder = tmp_path_factory.mktemp("lexical")
    lexical.write(TEXTS, folder)
    return Lexical(folder)


@pytest.mark.parametrize(
    ("question", "row"),
    [
        ("what does --max-loras do?", 0), ("max loras", 0), ("e1234", 1), ("Why E1234?", 1), ("foo_bar", 2), ("bar", 2),
        ("python 3.11", 2), ("STRASSE", 3), ("cafe\u0301", 3), ("überraschung", 3),
    ],
)  # fmt: skip
def test_identifiers_codes_and_words_of_any_language_are_found(index: Lexical, question: str, row: int) -> None:
    assert index.search(question, 3)[0] == row


def test_only_passages_that_hold_a_word_are_found_and_only_those_allowed(index: Lexical) -> None:
    assert sorted(index.search("disk", 10)) == [1, 2]
    assert index.search("disk", 1) == index.search("disk", 10)[:1]
    assert index.search("disk", 10, np.array([True, True, False, True, True, True])) == [1]
    assert index.search("disk", 10, np.zeros(6, dtype=np.bool_)) == []
    assert index.search("zebra", 10) == index.search("", 10) == []


def test_empty_words_count_only_where_a_question_has_no_others(index: Lexical) -> None:
    assert telling("What is the disk of the E1234?") == ["disk", "e1234"]
    assert index.search("How is the E1234?", 10) == [1]
    assert telling("to be of the") == ["to", "be", "of", "the"]
    assert 4 in index.search("who of the", 10)


def test_a_word_that_is_made_of_parts_is_followed_by_them() -> None:
    assert words("--max-loras FOO_bar 3.11 plain.") == [
        "max-loras", "max", "loras", "foo_bar", "foo", "bar", "3.11", "3", "11", "plain",
    ]  # fmt: skip


def test_coverage_is_the_share_of_a_questions_words_that_a_passage_holds(index: Lexical) -> None:
    assert index.coverage("disk e1234", [1]) == [1.0]
    rare, common = index.coverage("E1234 disk", [1, 2])[1], index.coverage("version disk", [2, 1])[1]
    assert 0 < rare < 0.5  # the commoner of the two words counts for less
    assert common == pytest.approx(rare)
    assert 0 < index.coverage("disk zebra", [1])[0] < 0.5  # a word that nobody holds counts most
    assert index.coverage("disk", [0, 1, 2, 5]) == [0.0, 1.0, 1.0, 0.0]
    assert index.coverage("", [0, 1]) == [0.0, 0.0]


def test_texts_without_a_word_make_an_index_that_finds_nothing(tmp_path: Path) -> None:
    lexical.write(["...", ""], tmp_path)
    assert Lexical(tmp_path).search("anything", 5) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.sampled_from("abcdéß東 _-.1"), max_size=30), min_size=1, max_size=12))
def test_every_word_of_every_text_finds_it(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("words")
    lexical.write(texts, folder)
    made = Lexical(folder)
    assert len(made) == len(texts)
    for row, text in enumerate(texts):
        for word in words(text):
            holders = [number for number, other in enumerate(texts) if set(telling(word)) <= set(words(other))]
            assert [number for number, share in enumerate(made.coverage(word, range(len(texts)))) if share > 0.9999] == holders
            assert row in made.search(word, len(texts))
