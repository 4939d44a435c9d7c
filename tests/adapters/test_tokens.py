"""Which tokens are learned: the supervised answers with their stop token, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.bases import open_tokenizer
from adapters.conversation import Example, Message, wire
from adapters.data.tokens import IGNORED, encode, encode_all, prompt_ids, stop_ids
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate, Shot

ROW = Example((Message("user", "my parcel is late"), Message("assistant", "delivery")), 1, (1,))
THREE_TURNS = Example(
    (Message("system", "be short"), *(Message(role, f"{role} {n}") for n in range(3) for role in ("user", "assistant"))),
    7,
    (2, 6),
)
TEMPLATE = PromptTemplate("Name the team.", (Shot("my card was charged", "billing"),))


def learned(tokenizer, row) -> str:
    return tokenizer.decode([label for label in row.labels if label != IGNORED])


def test_the_answer_and_its_stop_token_are_learned(tokenizer) -> None:
    row = encode(tokenizer, ROW)
    assert learned(tokenizer, row) == "delivery<|im_end|>"
    assert [token for token, label in zip(row.input_ids, row.labels, strict=True) if label not in (IGNORED, token)] == []
    assert row.answer_bytes == len("delivery")


def test_in_a_conversation_each_supervised_turn_and_no_other_is_learned(tokenizer) -> None:
    assert learned(tokenizer, encode(tokenizer, THREE_TURNS)) == "assistant 0<|im_end|>assistant 2<|im_end|>"


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["bare", "template"])
@pytest.mark.parametrize("example", [ROW, THREE_TURNS], ids=["one turn", "three turns"])
def test_training_ids_are_the_served_prompt_and_then_the_answer(tokenizer, example: Example, template) -> None:
    row = encode(tokenizer, example, template)
    prompt = prompt_ids(tokenizer, wire(example.prompt), template)
    assert row.input_ids[: len(prompt)] == prompt
    assert tokenizer.decode(row.input_ids[len(prompt) :]) == f"{example.answer}<|im_end|>\n"


@pytest.mark.parametrize("example", [ROW, THREE_TURNS], ids=["one turn", "three turns"])
def test_the_ids_are_those_of_the_whole_conversation_tokenised_at_once(tokenizer, example: Example) -> None:
    whole = tokenizer.apply_chat_template(wire(example.messages), tokenize=True, return_dict=False)
    assert encode(tokenizer, example).input_ids == whole


def test_a_template_adds_to_what_is_read_and_nothing_to_what_is_learned(tokenizer) -> None:
    assert learned(tokenizer, encode(tokenizer, THREE_TURNS, TEMPLATE)) == learned(tokenizer, encode(tokenizer, THREE_TURNS))


def test_rows_that_are_too_long_are_left_out_and_named_never_cut(tokenizer) -> None:
    length = len(encode(tokenizer, ROW).input_ids)
    rows, too_long = encode_all(tokenizer, [ROW, THREE_TURNS], None, length)
    assert (rows, too_long) == ([encode(tokenizer, ROW)], [7])


def test_text_that_the_base_reads_as_structure_is_refused(tokenizer) -> None:
    example = Example((Message("user", "x<|im_end|>y"), Message("assistant", "z")), 4, (1,))
    with pytest.raises(InvalidInput, match=r"line 4: the user's text holds '<\|im_end\|>'"):
        encode(tokenizer, example)


def test_a_chat_template_that_rewrites_earlier_turns_is_refused_by_name(tiny: Path) -> None:
    forgetful = open_tokenizer(tiny)
    forgetful.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ m.content if m.role != 'assistant' or loop.last else '...' }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert learned(forgetful, encode(forgetful, ROW)) == "delivery<|im_end|>"
    with pytest.raises(InvalidInput, match="template of tiny rewrites earlier text"):
        encode(forgetful, THREE_TURNS)


def test_a_chat_template_without_a_stop_token_is_refused(tiny: Path) -> None:
    endless = open_tokenizer(tiny)
    endless.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(InvalidInput, match="without one of its stop tokens"):
        encode(endless, ROW)


def test_roles_that_the_chat_template_refuses_are_named(tiny: Path) -> None:
    strict = open_tokenizer(tiny)
    strict.chat_template = "{{ raise_exception('no system role here') }}"
    with pytest.raises(InvalidInput, match="refuses the roles user: no system role here"):
        encode(strict, ROW)


def test_without_a_chat_template_prompt_answer_and_end_of_text_stand_in_a_row(tiny: Path) -> None:
    plain = open_tokenizer(tiny)
    plain.chat_template = None
    row = encode(plain, ROW)
    assert plain.decode(row.input_ids) == "my parcel is latedelivery<|im_end|>"
    assert learned(plain, row) == "delivery<|im_end|>"
    assert prompt_ids(plain, wire(ROW.prompt)) == plain("my parcel is late")["input_ids"]


def test_stops_are_those_of_tokenizer_and_generation_config(tokenizer) -> None:
    assert stop_ids(tokenizer) == {tokenizer.convert_tokens_to_ids("<|im_end|>")}
