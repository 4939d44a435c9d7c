"""From a folder of documents to the nearest passage, with the real encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adapters.embedded import encoder_folder
from adapters.errors import DataError, InvalidInput
from adapters.retrieval.encoder import Encoder
from adapters.retrieval.index import Index
from adapters.retrieval.passages import WORDS, read_folder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(encoder_folder())


def test_a_question_finds_its_passage(encoder: Encoder) -> None:
    passages = ["Bread rises because of yeast.", "The moon moves the tides.", "A goalkeeper may use both hands."]
    index = Index(encoder.encode(passages))
    scores, ids = index.search(encoder.encode(["Why does dough grow?", "What makes the sea rise and fall?"]), 2)
    assert ids[:, 0].tolist() == [0, 1]
    assert (scores[:, 0] > scores[:, 1]).all()


def test_vectors_have_length_one_whatever_the_batch(encoder: Encoder) -> None:
    texts = ["short", "a longer text about nothing in particular " * 20, "", "naïve café 東京"]
    vectors = encoder.encode(texts)
    assert (vectors.shape, vectors.dtype) == ((4, encoder.width), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors, np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-4)
    assert encoder.encode([]).shape == (0, encoder.width)


def test_unfamiliar_text_falls_into_more_pieces(encoder: Encoder) -> None:
    plain, formula = encoder.pieces(["the house on the hill", "CC(=O)Oc1ccccc1C(=O)O"])
    assert plain == 5
    assert formula > 10


def test_search_is_exact_and_bounded_by_what_is_there() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    scores, ids = Index(vectors).search(vectors[:3], 100)
    wanted = vectors[:3] @ vectors.T
    assert ids.shape == (3, 50)
    assert np.allclose(scores, -np.sort(-wanted, axis=1), atol=1e-5)
    with pytest.raises(InvalidInput, match="n above 0"):
        Index(np.zeros((0, 8), dtype=np.float32))
    with pytest.raises(InvalidInput, match="k must be"):
        Index(vectors).search(vectors, 0)


def test_documents_become_passages_by_heading_and_paragraph(tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text(
        "Before.\n\n# Returns #\n\nSend it back.\n\nWithin a month.\n\n```\n# no heading\n```\n## Fees\nNone.\n"
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "opening_hours.txt").write_text("\ufeffMonday to Friday.\n")
    (tmp_path / "faq.jsonl").write_text(json.dumps({"title": "Size", "text": "It runs small."}) + "\n\n")
    (tmp_path / ".hidden.md").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    said = {passage.id: (passage.title, passage.text) for passage in read_folder(tmp_path)}
    assert said == {
        "deep/opening_hours.txt#0": ("opening hours", "Monday to Friday."),
        "faq.jsonl#0": ("Size", "It runs small."),
        "guide.md#0": ("guide", "Before."),
        "guide.md#1": ("Returns", "Send it back.\n\nWithin a month.\n\n```\n# no heading\n```"),
        "guide.md#2": ("Fees", "None."),
    }


def test_long_paragraphs_are_cut_evenly_and_lose_no_word(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(2 * WORDS + 50)]
    (tmp_path / "long.txt").write_text(" ".join(words))
    passages = read_folder(tmp_path)
    assert " ".join(passage.text for passage in passages).split() == words
    assert all(WORDS / 2 < len(passage.text.split()) <= WORDS for passage in passages)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "fine"}\nnot json\n', "a.jsonl, line 2: this is not JSON"),
        ("a.jsonl", b'{"title": "no text"}\n', "a.jsonl, line 1, field 'text': must be text"),
        ("a.jsonl", b'["text"]\n', "a.jsonl, line 1: must be a JSON object"),
        ("a.md", b"fine\n\xff\n", "a.md, line 2: this is not UTF-8"),
    ],
)
def test_a_document_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_folder(tmp_path)


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no text"):
        read_folder(tmp_path)
    with pytest.raises(InvalidInput, match="is not a folder"):
        read_folder(tmp_path / "nowhere")
