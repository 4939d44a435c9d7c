"""Shift in texts of one length: how pairs are made, what cannot be told from everyday text, and how surprised a base is."""

from __future__ import annotations

import math

import pytest

from adapters.conversation import Example, Message
from adapters.embedded import encoder_folder
from adapters.evaluation.loss import RowLoss
from adapters.retrieval.encoder import Encoder
from advisor.evidence import Evidence, by_name, number
from advisor.shift import sample, surprise
from advisor.shift.c2st import c2st
from advisor.shift.mmd import mmd


def asked(*questions: str) -> list[Example]:
    return [
        Example((Message("user", q), Message("assistant", "well")), line, (1,)) for line, q in enumerate(questions, start=1)
    ]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(encoder_folder())


@pytest.mark.parametrize("length", [8, 30, 90, 400])
def test_pairs_are_of_one_length_and_use_no_line_twice(length: int) -> None:
    texts = [f"{number:03} " + "some words of a text that goes on " * (length // 30 + 1) for number in range(100)]
    texts = [sample.cut(text, length) for text in texts]
    ours, theirs = sample.pairs(texts, sample.everyday(), 0)
    assert len(ours) == len(theirs) >= 32
    for mine, usual in zip(ours, theirs, strict=True):
        assert 0.5 * len(mine) <= len(usual) <= len(mine) <= sample.MOST_CHARACTERS
    joined, at = " ".join(sample.everyday()), 0
    for text in theirs:
        at = joined.find(text, at) + len(text)
        assert at >= len(text), "in the order of the file, each behind the one before"


def test_one_row_makes_one_pair() -> None:
    ours, theirs = sample.pairs(["only this"], sample.everyday(), 0)
    assert (len(ours), len(theirs)) == (1, 1)


def test_everyday_questions_written_elsewhere_are_hard_to_tell_and_chess_is_not(encoder: Encoder) -> None:
    everyday = asked(
        "How do I keep basil alive on a window sill?", "What is a good gift for a neighbour who moved in?",
        "Explain how a bicycle stays upright.", "My phone gets hot when I charge it.", "Why do leaves fall in autumn?",
        "Plan a quiet weekend for two in a small town.", "Is it better to run in the morning or in the evening?",
        "Write a short note to thank the teacher.", "What does a mortgage cost in the end?", "How old is the moon?",
        "The soup was too salty and the bread was dry.", "Which bird sings at night?", "How do I fold a fitted sheet?",
        "Tell me a riddle for children.", "What should I cook for eight guests?", "How do vaccines work?",
    )  # fmt: skip
    chess = asked(
        *(f"{n}.Nf{n % 8 + 1} Bxc{n % 7 + 1} Qd{n % 5 + 2}+ Ke{n % 6 + 1} {n + 1}.O-O Rxe{n % 4 + 1}" for n in range(16))
    )
    near, far = (sample.matched(rows, encoder, seed=0) for rows in (everyday, chess))
    near_c2st, far_c2st = (by_name(c2st(*pair, 0)) for pair in (near, far))
    near_mmd, far_mmd = (by_name(mmd(*pair, 0)) for pair in (near, far))
    assert far_c2st["c2st_accuracy"].value == 1.0
    assert (number(near_c2st, "c2st_accuracy") or 0) < 0.85
    assert 0.3 < (number(far_c2st, "c2st_null") or 0) < 0.7
    null = far_mmd["mmd2_null"].interval
    assert null is not None
    assert (number(far_mmd, "mmd2") or 0) > 5 * null[1] > 5 * (number(near_mmd, "mmd2") or 0) / 10


def test_the_texts_are_questions_with_answers_without_what_all_share() -> None:
    rows = [
        Example((Message("user", f"Name the city: {city}"), Message("assistant", country)), line, (1,))
        for line, (city, country) in enumerate((("Oslo", "Norway"), ("Rome", "Italy")), start=1)
    ]
    ours, _ = surprise.texts(rows, seed=0)
    assert sorted(ours) == ["Oslo\nNorway", "Rome\nItaly"]


def losses(bits_per_byte: float) -> surprise.Losses:
    return lambda texts: [RowLoss(bits_per_byte * math.log(2) * len(text), len(text.split()), len(text)) for text in texts]


def test_bits_and_tokens_are_counted_by_byte_with_their_interval_and_null() -> None:
    ours, theirs = [f"text number {n}" for n in range(20)], [f"everyday text {n}" for n in range(20)]
    found: dict[str, Evidence] = by_name(surprise.surprise(ours, theirs, losses(2.0), seed=0))
    assert set(found) == set(surprise.NAMES)
    assert found["bits_per_byte"].value == pytest.approx(2.0)
    assert found["bits_per_byte"].interval == pytest.approx((2.0, 2.0))
    assert found["bits_per_byte_null"].interval == pytest.approx((0.0, 0.0))
    assert found["tokens_per_byte"].value == pytest.approx(3 * 20 / sum(map(len, ours)), abs=1e-4)


def test_losses_that_scatter_widen_the_null() -> None:
    ours, theirs = [f"text number {n}" for n in range(20)], [f"everyday text {n}" for n in range(20)]

    def scattered(texts: list[str]) -> list[RowLoss]:
        return [RowLoss((1 + n % 3) * len(text), len(text.split()), len(text)) for n, text in enumerate(texts)]

    null = by_name(surprise.surprise(ours, theirs, scattered, seed=0))["bits_per_byte_null"].interval
    assert null is not None
    assert null[0] < -0.2
    assert null[1] > 0.2
