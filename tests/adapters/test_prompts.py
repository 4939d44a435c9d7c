"""One function puts a template around a conversation, for the trainer and for the gateway."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.prompts import PromptTemplate, Shot, render

USER = {"role": "user", "content": "Where is my parcel?"}
TEMPLATE = PromptTemplate("Answer with a queue.", (Shot("I was charged twice", "billing"),))


def test_system_and_shots_come_first_and_the_question_last() -> None:
    assert render(TEMPLATE, [USER]) == [
        {"role": "system", "content": "Answer with a queue."},
        {"role": "user", "content": "I was charged twice"},
        {"role": "assistant", "content": "billing"},
        USER,
    ]


def test_the_callers_own_system_text_follows_the_templates() -> None:
    said = render(TEMPLATE, [{"role": "system", "content": "Be brief."}, USER])
    assert said[0]["content"] == "Answer with a queue.\n\nBe brief."
    assert said[-1] is USER


def test_shots_without_system_text_keep_the_callers_system_first() -> None:
    said = render(PromptTemplate(None, TEMPLATE.shots), [{"role": "system", "content": "Be brief."}, USER])
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]


def test_a_conversation_in_parts_is_passed_on_untouched() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"}
    assert render(TEMPLATE, [parts])[-1] is parts


messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text()}), max_size=4)


@given(messages)
def test_no_template_changes_nothing(said: list[dict[str, str]]) -> None:
    assert render(None, said) == said
    assert render(PromptTemplate(), said) == said


@given(messages)
def test_what_the_caller_said_is_always_the_end(said: list[dict[str, str]]) -> None:
    assert render(TEMPLATE, said)[len(render(TEMPLATE, [])) :] == said
