"""Passages reproduce their document, cover it, and fit the encoder that they are cut for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.embedded import encoder_folder
from adapters.errors import InvalidInput, NotFound
from adapters.retrieval.chunks import Chunking, Passage, counter, cut, headed
from adapters.retrieval.parsing import markdown
from adapters.retrieval.parsing.contract import Document, Section, whole

COUNT = counter(encoder_folder())
SENTENCE = "The mill of Aldermoor is kept by Orla Tansley since the spring. "


WORDS = ["mill", "naïve", "東京", "a.b.c", "x" * 150, "\n\n", "\n", " ", "\t", "—", ".", "e\u0301", "🙂", "foo_bar()", "# A\n"]


def texts() -> st.SearchStrategy[str]:
    words = st.lists(st.sampled_from(WORDS), max_size=300)
    letters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    return st.one_of(st.text(letters, max_size=400), words.map("".join), words.map(" ".join))


def check(document: Document, passages: list[Passage], chunking: Chunking) -> None:
    covered = bytearray(len(document.text))
    for number, passage in enumerate(passages):
        assert passage.number == number
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        assert COUNT(passage.text) <= chunking.max_tokens
        covered[passage.start : passage.end] = b"\1" * (passage.end - passage.start)
    assert not "".join(letter for letter, is_in in zip(document.text, covered, strict=True) if not is_in).strip()
    assert [passage.start for passage in passages] == sorted(passage.start for passage in passages)


@settings(max_examples=150, deadline=None)
@given(text=texts(), overlap=st.sampled_from([0, 10, 25]))
def test_passages_reproduce_and_cover_any_text_and_fit_the_encoder(text: str, overlap: int) -> None:
    chunking = Chunking(50, overlap)
    for document in (whole(text), markdown.parse(text.encode(), "a.md")):
        check(document, cut(document, chunking, COUNT), chunking)


def test_a_text_that_is_one_word_is_cut_too() -> None:
    document = whole("x" * 100_000)
    passages = cut(document, Chunking(), COUNT)
    check(document, passages, Chunking())
    assert max(len(passage.text) for passage in passages) < 10_000


def test_an_overlap_repeats_the_end_of_the_passage_before_it() -> None:
    document = whole(SENTENCE * 100)
    passages = cut(document, Chunking(100, 20), COUNT)
    check(document, passages, Chunking(100, 20))
    for before, after in pairwise(passages):
        repeated = document.text[after.start : before.end]
        assert 10 < COUNT(repeated) <= 20
        assert document.text[after.start - 1].isspace()
    plain = cut(document, Chunking(100), COUNT)
    assert all(before.end <= after.start for before, after in pairwise(plain))


def test_sections_are_cut_apart_and_small_neighbours_stay_together() -> None:
    guide = f"# Guide\n\nShort.\n\n## Install\n\nShort too.\n\n## Use\n\n{SENTENCE * 8}\n\n## Fees\n\n{SENTENCE * 40}"
    document = markdown.parse(guide.encode(), "a.md")
    passages = cut(document, Chunking(200), COUNT)
    check(document, passages, Chunking(200))
    assert [passage.heading for passage in passages] == ["Guide", "Guide > Use", *["Guide > Fees"] * (len(passages) - 2)]
    assert passages[0].text == "# Guide\n\nShort.\n\n## Install\n\nShort too."
    assert len(passages) > 4
    assert headed(passages[1].heading, "text") == "Guide > Use\ntext"
    assert headed("", "text") == "text"


def test_a_row_is_cut_only_where_it_is_longer_than_a_passage() -> None:
    rows = [f"place: number {number}\nkeeper: {SENTENCE * (1 if number != 7 else 30)}".strip() for number in range(20)]
    text = "\n\n".join(rows)
    starts = [text.index(row) for row in rows]
    document = Document(text, tuple(Section("", at, at + len(row)) for at, row in zip(starts, rows, strict=True)))
    passages = cut(document, Chunking(100), COUNT)
    check(document, passages, Chunking(100))
    for number, row in enumerate(rows):
        holders = [passage for passage in passages if row in passage.text]
        assert len(holders) == (number != 7)


@pytest.mark.parametrize("ends", ["\n", " ", "\n\n\n"])
def test_the_work_grows_as_the_text_does(ends: str) -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return len(text) // 4

    text = "".join(f"{SENTENCE}Row {number} of the chronicle.{ends * (1 + number % 3)}" for number in range(20_000))
    passages = cut(whole(text), Chunking(400, 40), count)
    assert len(passages) > len(text) / 4 / 400
    assert counted < 30 * len(text)


@pytest.mark.parametrize(
    ("size", "overlap", "field"),
    [(49, 0, "max_tokens"), (4097, 0, "max_tokens"), (100, 51, "overlap_tokens"), (100, -1, "overlap_tokens")],
)
def test_sizes_out_of_range_are_refused_by_name(size: int, overlap: int, field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Chunking(size, overlap)
    assert raised.value.param == field


def test_a_folder_without_a_tokenizer_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"tokenizer\.json"):
        counter(tmp_path)
