"""Answers of a model in this process: constrained to choices as an engine constrains them, a common start read once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.bases import open_model
from adapters.data.batches import TOKENS_AT_ONCE, by_length, rows_at_once
from adapters.data.tokens import stop_ids
from adapters.errors import InvalidInput
from adapters.evaluation import completer as completers
from adapters.evaluation.choices import Choices
from adapters.evaluation.completer import LocalCompleter
from tests.tiny import TOPICS, rows

QUESTIONS = [[{"role": "user", "content": question}] for question, _ in rows(20)]


@pytest.fixture(scope="module")
def model(tiny: Path) -> torch.nn.Module:
    return open_model(tiny, torch.float32)


@pytest.mark.parametrize("choices", [TOPICS, ("a", "a b", "a b c"), ("größer als 3 €", "größer", "日本語")])
def test_nothing_but_a_choice_is_answered(model, tokenizer, choices: tuple[str, ...]) -> None:
    answers = LocalCompleter(model, tokenizer, max_new_tokens=4, choices=choices)(QUESTIONS)
    assert set(answers) <= set(choices)


def test_without_choices_the_same_model_answers_something_else(model, tokenizer) -> None:
    assert not set(LocalCompleter(model, tokenizer, max_new_tokens=4)(QUESTIONS)) & set(TOPICS)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_way_through_the_allowed_tokens_spells_a_choice_and_ends_with_it(tokenizer, data: st.DataObject) -> None:
    texts = ("billing", "bill", "returns: broken", "naïve ☂")
    choices, made = Choices(tokenizer, texts), list[int]()
    for _ in range(choices.most_tokens):
        made.append(data.draw(st.sampled_from(choices.next(made))))
        if made[-1] in stop_ids(tokenizer):
            break
    said, answer = tokenizer.decode(made, skip_special_tokens=True).rstrip("\ufffd"), choices.answer(made)
    assert answer == said or [text for text in texts if text.startswith(said)] == [answer]
    assert made[-1] in stop_ids(tokenizer)
    assert set(choices.next(made)) == stop_ids(tokenizer)


def test_a_choice_that_begins_another_can_end_or_go_on(tokenizer) -> None:
    choices = Choices(tokenizer, ("bill", "billing"))
    bill = tokenizer("bill", add_special_tokens=False)["input_ids"]
    after = set(choices.next(bill))
    assert stop_ids(tokenizer) < after
    assert choices.answer([*bill, *stop_ids(tokenizer)]) == "bill"


def test_what_can_end_in_one_way_only_is_not_spelt_out(tokenizer) -> None:
    choices = Choices(tokenizer, ("billing", "delivery: late, or lost"))
    (first,) = tokenizer("d", add_special_tokens=False)["input_ids"]
    assert set(choices.next([first])) == stop_ids(tokenizer)
    assert choices.answer([first, *stop_ids(tokenizer)]) == "delivery: late, or lost"
    assert Choices(tokenizer, ("only this",)).answer([*stop_ids(tokenizer)]) == "only this"


class SpeltOut(Choices):
    """To the last letter, as an engine's grammar has it."""

    def _after(self, text: bytes) -> list[int]:
        rests = [choice[len(text) :] for choice in self._texts if choice.startswith(text)]
        pieces = {rest[:size] for rest in rests for size in range(1, len(rest) + 1)}
        return [token for piece in pieces for token in self._ids.get(piece, ())] + (self._stops if b"" in rests else [])


def test_an_early_end_changes_no_answer(model, tokenizer, monkeypatch) -> None:
    early = LocalCompleter(model, tokenizer, max_new_tokens=4, choices=TOPICS)(QUESTIONS)
    monkeypatch.setattr(completers, "Choices", SpeltOut)
    assert LocalCompleter(model, tokenizer, max_new_tokens=4, choices=TOPICS)(QUESTIONS) == early
    assert len(set(early)) > 1


@pytest.mark.parametrize("choices", [[""], ["a", ""]])
def test_an_empty_choice_is_refused(tokenizer, choices: list[str]) -> None:
    with pytest.raises(InvalidInput, match="none empty"):
        Choices(tokenizer, choices)


def test_a_common_start_that_is_read_once_changes_no_answer(model, tokenizer, monkeypatch) -> None:
    shots = [message for question, topic in rows(12) for message in _turn(question, topic)]
    asked = [[*shots, *said] for said in QUESTIONS]
    read: list[int] = []
    once = LocalCompleter._read_once
    monkeypatch.setattr(LocalCompleter, "_read_once", lambda self, ids, n: (read.append(ids.shape[1]), once(self, ids, n))[1])
    shared = LocalCompleter(model, tokenizer, max_new_tokens=6)(asked)
    assert read, "nothing was shared"
    assert min(read) > 200
    monkeypatch.setattr(completers, "FEWEST_SHARED_TOKENS", 10**9)
    assert LocalCompleter(model, tokenizer, max_new_tokens=6)(asked) == shared
    assert len(set(shared)) > 1


def test_a_model_that_looks_back_through_a_window_reads_every_row_whole(model, tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(model.config, "sliding_window", 64, raising=False)
    completer = LocalCompleter(model, tokenizer, max_new_tokens=2)
    prompts = [[1] * 100 + [2], [1] * 100 + [3]]
    assert completer._shared(prompts) == 0
    monkeypatch.setattr(model.config, "sliding_window", None)
    assert completer._shared(prompts) == 100


def test_long_rows_go_a_few_at_a_time_and_none_is_lost() -> None:
    lengths = [10, 9000, 20, 5000, 5000, 40_000, 30]
    groups = by_length(lengths, 16)
    assert sorted(row for group in groups for row in group) == list(range(7))
    assert groups[0] == [5]
    assert all(len(group) == 1 or len(group) * lengths[group[0]] <= TOKENS_AT_ONCE for group in groups)
    assert (rows_at_once(100, 16), rows_at_once(4096, 16), rows_at_once(10**6, 16)) == (16, 4, 1)


def _turn(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
