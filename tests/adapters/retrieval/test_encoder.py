"""Texts to vectors with the real encoder, and pairs to scores with a cross-encoder made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapters.embedded import encoder_folder
from adapters.errors import InvalidInput
from adapters.retrieval.chunks import counter
from adapters.retrieval.encoder import Encoder, Reranker, identity
from adapters.retrieval.index import Index


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(encoder_folder(), "minilm")


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


def test_it_says_what_it_read_and_what_it_left_out(encoder: Encoder) -> None:
    long = "word " * 1000
    short, cut = encoder.counted(["two words", long])
    assert (short.read, short.unread) == (4, 0)
    assert (cut.read, cut.unread) == (encoder.max_tokens, 1002 - encoder.max_tokens)
    read = "word " * (encoder.max_tokens - 2)
    assert np.allclose(encoder.encode([long]), encoder.encode([read]), atol=1e-5)
    assert encoder.name == "minilm"


def test_tokens_are_counted_without_torch_as_the_encoder_counts_them(encoder: Encoder) -> None:
    texts = ["two words", "naïve café 東京", "CC(=O)Oc1ccccc1C(=O)O", "", "word " * 1000]
    count = counter(encoder_folder())
    assert [count(text) for text in texts] == encoder.pieces(texts)


def test_an_encoder_is_known_by_what_decides_its_vectors(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    first = identity(tmp_path)
    (tmp_path / "README.md").write_text("b")
    assert identity(tmp_path) == first
    known = {first}
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
        (tmp_path / name).write_text("another")
        known.add(identity(tmp_path))
    assert len(known) == 4
    assert identity(encoder_folder()) == identity(encoder_folder())


def cross_encoder(folder: Path, labels: int = 1) -> str:
    """A cross-encoder with random weights, of a size that loads at once."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=labels,
        max_position_embeddings=512, initializer_range=1.0,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder_folder()).save_pretrained(folder)
    return str(folder)


def test_a_reranker_scores_each_passage_with_the_question(tmp_path: Path) -> None:
    reranker = Reranker(cross_encoder(tmp_path / "cross"))
    passages = ["Bread rises because of yeast.", "The moon moves the tides.", "A goalkeeper may use both hands."]
    scores = reranker.scores("Why does dough grow?", passages)
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)
    assert len(set(scores)) == 3
    assert scores == pytest.approx([reranker.scores("Why does dough grow?", [passage])[0] for passage in passages], abs=1e-4)
    assert scores != pytest.approx(reranker.scores("Who may use both hands?", passages), abs=1e-4)
    assert reranker.scores("Why?", []) == []


def test_a_classifier_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="gives 3 numbers"):
        Reranker(cross_encoder(tmp_path / "classifier", labels=3))
