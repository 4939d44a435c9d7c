"""A prompt file becomes what an adapted model carries, and renders the same; what cannot be carried is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import prompts
from adapters.errors import InvalidInput
from adapters.prompting.file import parse
from adapters.prompting.pool import Pool, pool_digest
from adapters.prompting.promotion import as_template
from adapters.prompting.rendering import render_file
from adapters.prompting.rows import shots_of
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import Shot

DESK = Path(__file__).parents[3] / "examples" / "support_desk"
FILE = """\
modelParameters: {temperature: 0, maxTokens: 8, stop: "."}
inputs: {ticket: string, tone: {default: plain}}
messages:
  - {role: system, content: "Be {{ tone }}."}
  - {role: user, content: "Ticket: no steam\\nQueue:"}
  - {role: assistant, content: repair}
  - {role: examples}
  - {role: user, content: "Ticket: {{ ticket }}\\nQueue:"}
examples:
  rows: [{ticket: late parcel, label: shipping}, {ticket: paid twice, label: billing}]
  user: "Ticket: {{ ticket }}\\nQueue:"
  assistant: "{{ label }}"
  select: {strategy: bm25, k: 1}
"""


def pool_of(text: str) -> Pool | None:
    examples = parse(text, "x").examples
    return None if examples is None else Pool(shots_of(examples, enumerate(examples.rows, 1), "x"))


@pytest.mark.parametrize("select", ["", "select: {strategy: bm25, k: 1}", "select: {strategy: fixed, k: 2}"])
def test_a_promoted_prompt_says_what_the_file_says(select: str) -> None:
    text = FILE.replace("select: {strategy: bm25, k: 1}", select)
    prompt, pool = parse(text, "x"), pool_of(text)
    assert pool is not None
    promoted = as_template(prompt, pool)
    question = "my parcel is late"
    by_question = promoted.template.select is not None
    shots = choose(pool, prompt.examples.select, question) if by_question else pool.rows  # type: ignore[union-attr,arg-type]
    chosen = choose(Pool(promoted.pool), promoted.template.select, question) if promoted.template.select else []
    served = prompts.render(promoted.template, [{"role": "user", "content": question}], chosen)
    assert served == render_file(prompt, {"ticket": question}, shots).messages
    assert by_question == ("bm25" in select)
    assert promoted.sampling.wire() == {"temperature": 0, "max_tokens": 8, "stop": ["."]}


def test_the_pool_holds_the_questions_without_the_words_around_them() -> None:
    promoted = as_template(parse(FILE, "x"), pool_of(FILE))
    assert promoted.pool == (Shot("late parcel", "shipping"), Shot("paid twice", "billing"))
    assert promoted.template.select is not None
    assert promoted.template.select.pool == pool_digest(promoted.pool)
    assert (promoted.template.before, promoted.template.after) == ("Ticket: ", "\nQueue:")
    assert promoted.template.shots == (Shot("no steam", "repair"),)


def test_other_inputs_get_their_value_now() -> None:
    assert as_template(parse(FILE, "x"), pool_of(FILE), {"tone": "kind"}).template.system == "Be kind."
    with pytest.raises(InvalidInput, match="'ton' is not an input"):
        as_template(parse(FILE, "x"), pool_of(FILE), {"ton": "kind"})


def test_the_example_of_the_support_desk_can_be_promoted() -> None:
    prompt = parse((DESK / "triage.prompt.yml").read_text(), "triage.prompt.yml")
    promoted = as_template(prompt, Pool([Shot("late parcel", "shipping")]))
    assert promoted.template.select is not None
    assert promoted.template.select.k == 6


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tone: {default: plain}", "tone: string", "ticket, tone are left open"),
        ("ticket: string", "ticket: {default: x}", "none is left open"),
        ("ticket: string", "ticket: array", "of type array"),
        ("Ticket: {{ ticket }}\\nQueue:\"}\nexamples", "Hi\"}\nexamples", "'ticket' must stand there once"),
        ("{{ ticket }}\\nQueue:\"}\nexamples", "{{ ticket }}{{ ticket }}\"}\nexamples", "must stand there once"),
        ("{{ ticket }}\\nQueue:\"}\nexamples", "{{ ticket | upper }}\"}\nexamples", "must stand there once"),
        ("Ticket: {{ ticket }}\\nQueue:\"}\nexamples", "{% if tone %}{{ ticket }}{% endif %}\"}\nexamples", "any condition"),
        ("Be {{ tone }}", "About {{ ticket }}", "may stand in the last message only"),
        ("Ticket: no steam", "no steam", "messages[2].content: it must have the same words around its question"),
        ("user: \"Ticket: {{", "user: \"{{", "example 1: it must have the same words around"),
        ("content: repair}", "content: repair}\n  - {role: assistant, content: more}", "pairs of user and assistant"),
        ("role: assistant, content: repair", "role: system, content: repair", "a system message can stand at the beginning"),
        ("- {role: examples}\n", "- {role: examples}\n  - {role: user, content: \"Ticket: a\\nQueue:\"}\n"
         "  - {role: assistant, content: b}\n", "behind the chosen examples"),
        ("temperature: 0", "seed: 3", "no default for seed"),
        ("inputs:", "responseFormat: json_object\ninputs:", "responseFormat"),
    ],
)  # fmt: skip
def test_what_an_adapted_model_cannot_carry_is_said(old: str, new: str, words: str) -> None:
    assert old in FILE
    text = FILE.replace(old, new)
    with pytest.raises(InvalidInput) as raised:
        as_template(parse(text, "x"), pool_of(text))
    assert words in raised.value.message
    assert raised.value.code == "cannot_promote"
