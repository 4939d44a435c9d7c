"""Prompt files: GitHub Models' load unmodified, ours add inputs and examples, and every error names its place."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import DataError, DataErrors, GraftError, InvalidInput
from adapters.prompting.file import parse
from adapters.prompting.rendering import question_of, render_file
from adapters.prompting.rows import shots_of
from adapters.prompting.yaml_text import read_table
from adapters.prompts import Shot

GITHUB_MODELS = """\
name: Bean Card
description: Writes the card that hangs under a bag of coffee
model: openai/gpt-4o-mini
modelParameters:
  temperature: 0.4
  maxTokens: 120
  topP: 0.9
responseFormat: json_schema
jsonSchema: |-
  {
    "name": "card",
    "strict": true,
    "schema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
  }
messages:
  - role: system
    content: You write cards for {{shop}}.
  - role: user
    content: |
      Write the card of this bag:
      <bag>
      {{input}}
      </bag>
testData:
  - shop: Larkfield
    input: |
      Washed, from Huila.
    expected: Huila
  - shop: Larkfield
    input: no
    expected: 2024-05-01
evaluators:
  - name: says where from
    string:
      contains: '{{expected}}'
  - name: similar
    uses: github/similarity
  - name: judged
    llm:
      modelId: openai/gpt-4o
      prompt: "Is {{completion}} right?"
      choices:
        - choice: 'yes'
          score: 1.0
"""

TRIAGE = """\
name: triage
modelParameters: {temperature: 0, max_tokens: 8, stop: "\\n"}
inputs:
  ticket: {type: string, max_chars: 80}
  labels: {type: array, default: [billing, repair]}
messages:
  - {role: system, content: "One of: {{ labels | join(', ') }}."}
  - {role: examples}
  - {role: user, content: "Ticket: {{ ticket }}"}
examples:
  rows:
    - {ticket: No steam, label: repair}
    - {ticket: "{{ ticket }}", label: billing}
  user: "Ticket: {{ ticket }}"
  assistant: "{{ label }}"
"""


def shots(text: str) -> list[Shot]:
    examples = parse(text, "x.prompt.yml").examples
    assert examples is not None
    return shots_of(examples, enumerate(examples.rows, 1), "examples")


def test_an_unmodified_file_of_github_models_loads() -> None:
    prompt = parse(GITHUB_MODELS, "card.prompt.yml")
    assert (prompt.name, prompt.model) == ("Bean Card", "openai/gpt-4o-mini")
    assert prompt.parameters == {"temperature": 0.4, "max_tokens": 120, "top_p": 0.9}
    assert prompt.response_format is not None
    assert prompt.response_format["json_schema"]["schema"]["required"] == ["title"]
    assert {name: wanted.type for name, wanted in prompt.inputs.items()} == {"input": "string", "shop": "string"}
    assert [row["expected"] for row in prompt.test_data] == ["Huila", "2024-05-01"]
    assert prompt.test_data[1]["input"] == "no", "a word, as Go's YAML reads it"
    assert len(prompt.evaluators) == 3


def test_it_renders_as_it_would_there() -> None:
    rendered = render_file(parse(GITHUB_MODELS, "card.prompt.yml"), {"shop": "Larkfield", "input": "Washed & <b>"})
    assert rendered.messages == [
        {"role": "system", "content": "You write cards for Larkfield."},
        {"role": "user", "content": "Write the card of this bag:\n<bag>\nWashed & <b>\n</bag>\n"},
    ]


def test_examples_are_pairs_before_the_question_and_their_text_is_no_template() -> None:
    prompt = parse(TRIAGE, "triage.prompt.yml")
    rendered = render_file(prompt, {"ticket": "{{ labels }}"}, shots(TRIAGE))
    assert [message["content"] for message in rendered.messages] == [
        "One of: billing, repair.",
        "Ticket: No steam", "repair", "Ticket: {{ ticket }}", "billing",
        "Ticket: {{ labels }}",
    ]  # fmt: skip
    assert [message["role"] for message in rendered.messages] == ["system", *("user", "assistant") * 2, "user"]
    assert question_of(prompt, {"ticket": "x"}) == "Ticket: x", "as the rows' questions are written"


def test_without_a_place_examples_stand_before_the_last_question() -> None:
    text = TRIAGE.replace("  - {role: examples}\n", "  - {role: user, content: Hello}\n  - {role: assistant, content: Hi}\n")
    rendered = render_file(parse(text, "x"), {"ticket": "late"}, [Shot("a", "b")])
    assert [message["content"] for message in rendered.messages][1:] == ["Hello", "Hi", "a", "b", "Ticket: late"]


def test_over_the_budget_the_shots_that_suit_least_are_dropped_and_named() -> None:
    def count(messages) -> int:
        return 10 * len(messages)

    some = [Shot(f"q{number}", f"a{number}") for number in range(5)]
    nearest_last = parse(TRIAGE.replace('"{{ label }}"', '"{{ label }}"\n  select: {strategy: bm25}'), "x")
    rendered = render_file(nearest_last, {"ticket": "late"}, some, 60, count)
    assert (rendered.dropped_shots, rendered.tokens) == (tuple(some[:3]), 60)
    assert [message["content"] for message in rendered.messages][1:-1] == ["q3", "a3", "q4", "a4"]
    in_order = render_file(parse(TRIAGE, "x"), {"ticket": "late"}, some, 79, count)
    assert (in_order.dropped_shots, in_order.tokens) == (tuple(some[2:]), 60)
    assert render_file(parse(TRIAGE, "x"), {"ticket": "late"}, some, 120, count).dropped_shots == ()
    with pytest.raises(InvalidInput, match="20 tokens without any example, and 19 may be used"):
        render_file(parse(TRIAGE, "x"), {"ticket": "late"}, some, 19, count)


@pytest.mark.parametrize(
    ("row", "shot"),
    [
        ('{user: "a {{ b }}", assistant: c}', Shot("a {{ b }}", "c")),
        ("{input: a, output: b}", Shot("a", "b")),
        ("{text: a, label: 3}", Shot("a", "3")),
        ("{messages: [{role: system, content: s}, {role: user, content: a}, {role: assistant, content: b}]}", Shot("a", "b")),
    ],
)
def test_rows_may_have_any_form_that_data_files_have(row: str, shot: Shot) -> None:
    assert shots(f"messages: [{{role: user, content: '{{{{ q }}}}'}}]\nexamples:\n  - {row}\n") == [shot]


def test_every_row_that_makes_no_example_is_named() -> None:
    text = TRIAGE.replace("label: repair", "lable: repair").replace("label: billing", "table: billing")
    with pytest.raises(DataErrors, match=r"(?s)examples, line 1: examples.assistant: `label` is undefined.*line 2"):
        shots(text)
    with pytest.raises(DataError, match="one question with one answer"):
        shots("messages: [{role: user, content: a}]\nexamples:\n  - {text: only}\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{{ ticket }}\"}\nexamples", "{{ tiket }}\"}\nexamples",
         "x.yml: messages[2].content: 'tiket' is not an input of this prompt; did you mean 'ticket'?"),
        ("{{ ticket }}\"}\nexamples", "{{ ticket\"}\nexamples", "x.yml: messages[2].content: not a template"),
        ("messages:", "mesages:", "x.yml: mesages: a prompt file has no such field; did you mean 'messages'?"),
        ("role: system", "role: sistem", "messages[0].role: must be one of system"),
        ("content: \"One", "text: \"One", "messages[0].text"),
        ("- {role: examples}", "- {role: examples}\n  - {role: examples}", "messages[2]: the examples can go to one place"),
        ("temperature: 0", "temperature: 3", "modelParameters.temperature: must be a number from 0 to 2, not 3"),
        ("temperature: 0", "temprature: 0", "modelParameters.temprature: no such parameter; did you mean 'temperature'"),
        ("max_tokens: 8", "max_tokens: 8, maxTokens: 9", "'max_tokens' is said twice"),
        ("type: string", "type: sting", "inputs.ticket.type: must be one of"),
        ("  user: \"Ticket: {{ ticket }}\"\n", "", "'user' and 'assistant' go together"),
        ("  rows:", "  source: a.jsonl\n  rows:", "examples: must have either 'source'"),
        ("  assistant:", "  select: {strategy: nearest}\n  assistant:", "examples.select.strategy: there is no selector"),
        ("  assistant:", "  select: {k: -1}\n  assistant:", "examples.select.k: must be a whole number"),
        ("name: triage", "name: 3", "name: must be a text, not 3; put it in quotes"),
        ("name: triage", "name: triage\nname: other", "line 2, column 1: 'name' stands there twice"),
        ("name: triage", "name: triage\nresponseFormat: yaml", "responseFormat: must be one of text"),
        ("name: triage", "name: triage\nresponseFormat: json_schema", "jsonSchema: must be there"),
        ("name: triage", "name: triage\njsonSchema: '{'", "jsonSchema: this is not JSON"),
        ("name: triage", "name: {{ a }}", "text with {{ }} goes in quotes"),
        ("name: triage", "name: &a triage", "anchors and aliases"),
        ("name: triage", "name: !!python/name:os.system x", "could not determine a constructor"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_place(old: str, new: str, words: str) -> None:
    assert old in TRIAGE
    with pytest.raises(InvalidInput) as raised:
        parse(TRIAGE.replace(old, new), "x.yml")
    assert raised.value.message.startswith("x.yml: ")
    assert words in raised.value.message


@pytest.mark.parametrize("text", ["", "- a", "a: [", "messages: []", "messages: [3]", "x" * 300_000, "a: " + "[" * 5000])
def test_what_is_no_prompt_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text, "x.yml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text("abcdef_", min_size=1), VALUES, max_size=4))
def test_what_a_yaml_writer_wrote_is_read_back(table: dict[str, object]) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    assert read_table(yaml.dump(table, Dumper=Plain, allow_unicode=True)) == table


@given(st.text() | st.text(st.sampled_from("ab:-{}[]'\"|>#\n &*!%@`,?")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text, "x.yml")
    except GraftError:
        return


@given(st.lists(st.sampled_from(TRIAGE.splitlines()), max_size=20))
def test_any_shuffle_of_a_file_is_read_or_refused(lines: list[str]) -> None:
    try:
        parse("\n".join(lines), "x.yml")
    except GraftError:
        return
