"""Facts read out of a conversation: what is plainly said, what a model may add, and that no number comes from nowhere."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from advisor.conversation import words
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.extraction import claimed, openings, prompt, schema
from advisor.conversation.grounding import grounded
from advisor.conversation.numerals import numerals, words_value
from advisor.conversation.questions import QUESTIONS
from advisor.conversation.reader import read
from advisor.conversation.replying import reply
from advisor.conversation.settling import Known, settle
from advisor.stated import FIELDS


def known(*said: str, claims: tuple[Claim, ...] = ()) -> Known:
    """The user's turns; those that begin with `advisor:` are the advisor's."""
    turns = [Turn(one.removeprefix("advisor:"), not one.startswith("advisor:")) for one in said]
    return settle(turns, [*read(turns), *claims])


def facts(*said: str) -> dict[str, Any]:
    return known(*said).stated.given()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("250 or 1,000 or 1.5k", [250, 1000, 1500]),
        ("a 7B, Mistral-7B, llama-3.1-8b-instruct, smollm2-135M", [7e9, 7e9, 8e9, 135e6]),
        ("two hundred and fifty, a dozen, twenty-five, five thousand two hundred", [250, 12, 25, 5200]),
        ("40%, 40 percent", [40, 40]),
        ("2024-05-01 at 10:30, 1.2.3, 3rd, gpt-4, h100, v2, https://x.org/4 7, 1,5", [7]),
        ("1. 250\n2. yes", [250]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, values: list[float]) -> None:
    assert [one.value for one in numerals(text)] == values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I have 250 labelled tickets in 5 categories", {"n_examples": 250, "n_classes": 5, "task_type": "classification"}),
        ("rows: 250, labels: 5", {"n_examples": 250, "n_classes": 5, "task_type": "classification"}),
        ("3k emails, 24 GiB, a 7B model", {"n_examples": 3000, "gpu_gib": 24.0, "params_b": 7.0}),
        ("about 20 rows per label of 300 tokens per row", {"examples_per_class": 20.0, "tokens_per_example": 300.0}),
        ("no training data at all, and we summarize", {"n_examples": 0, "task_type": "summarization"}),
        ("I don't have 500 rows, only 50 rows", {"n_examples": 50}),
        ("5000 rows instead of 250 rows", {"n_examples": 5000}),
        ("our corpus has 12 million tokens", {"corpus_tokens": 12_000_000}),
        ("40% of the answers need our internal docs", {"needs_new_knowledge": 0.4}),
        ("the answers are in our docs", {"needs_new_knowledge": True}),
        ("it needs facts the base cannot know", {"needs_new_knowledge": True}),
        ("we do not need any new knowledge", {"needs_new_knowledge": False}),
        ("the facts change weekly", {"knowledge_changes": True}),
        ("Facts never change.", {"knowledge_changes": False}),
        ("the base gets 62% right zero-shot", {"base_score": 0.62}),
        ("the domain shift is 0.4", {"domain_shift": 0.4}),
        ("answers within 2 seconds", {"latency_budget_ms": 2000.0}),
        ("latency below 200 ms", {"latency_budget_ms": 200.0}),
        ("10 requests per second", {"queries_per_day": 864_000.0}),
        ("on an RTX 4090", {"gpu": "rtx-4090"}),
        ("one H100 80GB", {"gpu": "h100"}),
        ("$2.50 an hour for 50 tenants", {"price_per_hour": 2.5, "tenants": 50}),
        ("it was fine-tuned without passages", {"tuned_without_passages": True}),
        ("500M parameters", {"params_b": 0.5}),
        ("24 GB of documents, 3 people, one model, since 2019", {}),
    ],
)  # fmt: skip
def test_plain_statements_need_no_model(text: str, expected: dict[str, Any]) -> None:
    assert facts(text) == expected


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.kind in (int, float)])
def test_every_number_can_be_stated_by_its_name(name: str) -> None:
    value = 0.5 if FIELDS[name].unit == "share" else 50
    assert facts(f"{name}={value}")[name] == value
    assert facts(f"{name.replace('_', ' ')} is {value}")[name] == value


def test_a_later_statement_takes_the_place_of_an_earlier_one() -> None:
    assert facts("250 rows to classify", "advisor:fine", "actually 500 rows")["n_examples"] == 500
    assert facts("24 GiB", "advisor:fine", "sorry, an H100") == {"gpu": "h100"}
    assert facts("250 rows of 24 GiB", "advisor: 9000 rows would do") == facts("250 rows of 24 GiB")


def test_what_cannot_be_is_left_out_and_said() -> None:
    left = known("a domain shift of 0.4 and n_classes=1")
    assert left.stated.given() == {"domain_shift": 0.4}
    assert "n_classes must be at least 2" in left.refused[0]
    both = known("5 labels, we translate")
    assert both.stated.given() == {"task_type": "translation"}
    assert "labels belong to a classification" in both.refused[0]


def test_a_bare_answer_is_to_the_question_before_it_where_only_one_can_be_meant() -> None:
    rows, knows, changes = (QUESTIONS[name] for name in ("n_examples", "needs_new_knowledge", "knowledge_changes"))
    assert facts("hi", f"advisor:1. {rows}\n2. {knows}", "about 250, and yes") == {
        "n_examples": 250,
        "needs_new_knowledge": True,
    }
    assert facts("hi", f"advisor:1. {rows}\n2. {knows}", "1. 250\n2. no") == {"n_examples": 250, "needs_new_knowledge": False}
    assert facts("hi", f"advisor:{knows} {changes}", "yes") == {}
    assert facts("hi", f"advisor:{rows}", "make it 800") == {}
    assert known("hi", f"advisor:{rows}", "make it 800").unplaced == ("800",)
    assert facts("hi", "advisor:Tell me more.", "250") == {}


def as_replies(said: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps({name: entry}) for name, entry in said.items()}


def by_model(turns: list[Turn], said: dict[str, Any]) -> dict[str, Any]:
    plain = read(turns)
    return settle(turns, [*plain, *claimed(as_replies(said), turns, plain, "base")]).stated.given()


GATHERED = [Turn("Our data set has grown to 1,200 by now. We want to tell angry letters from friendly ones. It moves weekly.")]


def test_a_model_fills_what_the_reader_does_not_see() -> None:
    said = {
        "n_examples": {"quote": "our data set has grown to 1,200 by now", "value": 1200},
        "task_type": {"quote": "We want to tell angry letters from friendly ones", "value": "classification"},
        "knowledge_changes": {"quote": "It moves weekly", "value": True},
    }
    assert read(GATHERED) == []
    assert by_model(GATHERED, said) == {"n_examples": 1200, "task_type": "classification", "knowledge_changes": True}


@pytest.mark.parametrize(
    "entry",
    [
        {"n_examples": {"quote": "Our data set has grown to 1,200 by now", "value": 1201}},
        {"n_examples": {"quote": "we have 1,200 rows", "value": 1200}},
        {"n_examples": {"quote": "It moves weekly", "value": 7}},
        {"n_examples": {"quote": "", "value": 1200}},
        {"n_examples": {"quote": "Our data set has grown to 1,200 by now", "value": "1200"}},
        {"latency_budget_ms": {"quote": "grown to 1,200 by now", "value": 1200}},
        {"knowledge_changes": {"quote": "It moves weekly", "value": False}},
        {"knowledge_changes": {"quote": "angry letters", "value": True}},
        {"needs_new_knowledge": {"quote": "Our data set has grown", "value": False}},
        {"task_type": {"quote": "It moves weekly", "value": "translation"}},
        {"task_type": {"quote": "We want to tell angry letters from friendly ones", "value": "tool_use"}},
        {"task_type": {"quote": "We want to tell angry letters", "value": "poetry"}},
        {"gpu": {"quote": "Our data set", "value": "h100"}},
        {"nonsense": {"quote": "It moves weekly", "value": True}},
        {"n_examples": 1200},
    ],
)
def test_what_a_model_cannot_show_in_the_users_words_is_dropped(entry: dict[str, Any]) -> None:
    assert by_model(GATHERED, entry) == {}


def test_a_no_stands_by_what_it_denies() -> None:
    turns = [Turn("The manuals get new chapters weekly though the model was never shown one.")]
    said = {"quote": turns[0].text, "value": False}
    assert by_model(turns, {"knowledge_changes": said, "needs_new_knowledge": said}) == {}
    wiki = {"quote": "The wiki is never updated.", "value": False}
    assert by_model([Turn("The wiki is never updated.")], {"knowledge_changes": wiki}) == {"knowledge_changes": False}


def test_one_number_is_one_fact() -> None:
    quote = "the training data and the labels come to 300"
    turns = [Turn(f"{quote}.")]
    rows, labels = {"quote": quote, "value": 300}, {"quote": quote, "value": 300}
    assert by_model(turns, {"n_examples": rows}) == {"n_examples": 300}
    assert by_model(turns, {"n_examples": rows, "n_classes": labels}) == {}
    counted = [Turn("the labels come to 300 rows")]
    assert by_model(counted, {"n_classes": {"quote": "the labels come to 300 rows", "value": 300}}) == {"n_examples": 300}


@pytest.mark.parametrize(
    "words_of_a_model", ["", "{", "[]", "null", '"n_examples"', '{"n_examples": {"quote": 3, "value": []}}']
)
def test_a_reply_that_is_no_such_json_says_nothing(words_of_a_model: str) -> None:
    assert claimed({"n_examples": words_of_a_model}, GATHERED, [], "base") == []


def test_the_schema_leaves_nothing_to_invent() -> None:
    values: dict[str, list[list[Any]]] = {}
    for one in openings(GATHERED, read(GATHERED)):
        made = schema(one)
        assert made["required"] == [one.name]
        null, *filled = made["properties"][one.name]["anyOf"]
        assert null == {"type": "null"}
        assert all(quote in GATHERED[0].text for entry in filled for quote in entry["properties"]["quote"]["enum"])
        assert all(quote in prompt(one) for quote in one.values)
        values[one.name] = [entry["properties"]["value"]["enum"] for entry in filled]
    assert values == {"n_examples": [[1200]], "task_type": [["classification"]], "knowledge_changes": [[True]]}


def test_a_model_reads_a_few_fields_at_once_those_that_decide_first() -> None:
    text = "Their labels come to 3,400. Traffic is 900 on busy days. The manuals get new chapters weekly. It was trained once."
    asked = [one.name for one in openings([Turn(text)], [])]
    assert asked == ["task_type", "needs_new_knowledge", "knowledge_changes", "n_classes"]


def test_a_model_is_asked_nothing_where_nothing_is_left_to_read() -> None:
    turns = [Turn("I have 250 rows. Which method should I use?")]
    assert openings(turns, read(turns)) == []


def test_the_plain_reader_is_held_to_the_same_rule() -> None:
    turns = [Turn("250 tickets in 5 categories, an H100, 40% of the answers need our docs, facts never change, 200 ms")]
    claims = read(turns)
    assert len(claims) >= 6
    assert all(grounded(claim, turns) for claim in claims)
    assert not any(grounded(claim, [Turn(f"Hello. {turns[0].text}")]) for claim in claims)


AMONG = re.findall(
    r"\S+",
    "rows labels tokens per a day row label requests GiB of the answers need our docs base scores zero-shot not don't have"
    " model parameters classify tenants facts change never context within , . ? is : = domain shift H100 actually",
)
PIECES = some.one_of(
    some.integers(0, 10**7).map(str),
    some.integers(1000, 10**7).map(lambda n: f"{n:,}"),
    some.sampled_from(
        ["1.5k", "7B", "40%", "0.4", "two hundred", "a dozen", "2.5 million", "24GiB", "200 ms", "2 seconds", "no"]
    ),
    some.sampled_from(AMONG),
)
TEXTS = some.lists(PIECES, max_size=25).map(" ".join)
FACTORS = (1, 1e-2, 1e-9, 1000, 24, 1440, 86_400, 1e9 / 2**30, 1000 * 1e9 / 2**30, 1 / 1024, 1024)
"""Percent, billions, and units: nothing else is ever done to a number."""


def literals(text: str) -> list[float]:
    """Every number of the text, found in another way than the reader's."""
    scales = {"k": 1e3, "m": 1e6, "b": 1e9, "million": 1e6}
    found = re.findall(r"(\d[\d,]*(?:\.\d+)?)(?: ?(k|m|b|million)\b)?", text, re.IGNORECASE)
    numbers = [float(digits.replace(",", "")) * scales.get(scale.lower(), 1) for digits, scale in found]
    return numbers + [words_value(one)[0] for one in ("two hundred", "a dozen") if one in text] + [0.0] * ("no" in text)


@given(some.lists(TEXTS, min_size=1, max_size=3))
def test_no_fact_holds_a_number_that_the_user_did_not_write(said: list[str]) -> None:
    turns = [Turn(text) for text in said]
    numbers = [number for text in said for number in literals(text)]
    for name, value in settle(turns, read(turns)).stated.given().items():
        if not isinstance(value, (bool, str)):
            assert any(abs(value - number * factor) <= 1e-3 * max(1, abs(value)) for number in numbers for factor in FACTORS), (
                name
            )


@given(TEXTS)
def test_whatever_the_plain_reader_says_stands_in_the_text(text: str) -> None:
    turns = [Turn(text)]
    assert [claim for claim in read(turns) if not grounded(claim, turns)] == []


@given(
    TEXTS,
    some.dictionaries(
        some.sampled_from(list(FIELDS)), some.tuples(TEXTS, some.one_of(some.integers(), some.booleans())), max_size=4
    ),
)
def test_no_reply_of_a_model_adds_a_number_that_the_user_did_not_write(text: str, reply_: dict[str, tuple[str, Any]]) -> None:
    turns = [Turn(text)]
    replied = {name: {"quote": quote, "value": value} for name, (quote, value) in reply_.items()}
    for claim in claimed(as_replies(replied), turns, [], "base"):
        if not isinstance(claim.value, (bool, str)):
            assert any(
                abs(claim.value - number * factor) <= 1e-3 * max(1, claim.value)
                for number in literals(text)
                for factor in FACTORS
            )


def test_nothing_is_known_so_two_facts_are_asked_for() -> None:
    said = "\n".join(reply([Turn("Which method should I use?")], []))
    assert QUESTIONS["n_examples"] in said
    assert QUESTIONS["task_type"] in said
    assert "confidence" not in said


def test_what_would_turn_the_advice_is_asked_first_with_what_hangs_on_it() -> None:
    turns = [Turn("250 rows to summarize reports")]
    said = reply(turns, read(turns))[-1]
    assert said.startswith("To be surer, tell me:")
    assert re.search(re.escape(QUESTIONS["needs_new_knowledge"]) + r" \(if .* of the answers need facts .*: \w+", said)
    assert said.count("?") == 2


def test_a_question_that_is_not_answered_is_not_asked_a_third_time() -> None:
    turns: list[Turn] = []
    for _ in range(3):
        turns += [Turn("250 rows to summarize reports")]
        said = "\n\n".join(reply(turns, read(turns)))
        turns += [Turn(said, is_users=False)]
    assert [QUESTIONS["needs_new_knowledge"] in turn.text for turn in turns if not turn.is_users] == [True, True, False]


def test_every_cue_belongs_to_a_field() -> None:
    assert set(words.CUES) | {"gpu"} == set(FIELDS)
    assert set(words.TASKS) == set(FIELDS["task_type"].choices)
    assert set(QUESTIONS) <= set(FIELDS)
