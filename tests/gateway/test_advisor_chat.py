"""`model="advisor"` as the unmodified openai client has it: whole and streamed, read by a stub engine or by nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import openai
import pytest

from adapters.adapted_model import AdaptedModel
from adapters.errors import InvalidInput, Unavailable
from advisor.advice import from_numbers
from advisor.conversation.claims import Turn
from advisor.stated import Stated
from gateway import settings as settings_table
from gateway.engines.pool import Pool
from gateway.reserved import RESERVED
from gateway.serving.reading import Reader, Reading
from tests.gateway.conftest import BASE, Gateway, Home, gateway_on

MODEL = "advisor"
PLAIN = "I have 250 labelled tickets in 5 categories, a 7B model and 24 GiB. Which method?"
STATED = Stated(n_examples=250, n_classes=5, task_type="classification", params_b=7.0, gpu_gib=24.0)
OPEN = "Our data set has grown to 1,200 by now. It moves weekly."
READ = {
    "n_examples": {"quote": "Our data set has grown to 1,200 by now.", "value": 1200},
    "knowledge_changes": {"quote": "It moves weekly.", "value": False},
}
"""What the stub answers: the first holds, the second has the wrong sign."""
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose engine reads, always the same."""
    root = tmp_path_factory.mktemp("reading")
    (root / "home").mkdir()
    with gateway_on(Home(root / "home", root / "made"), "--says", json.dumps(READ)) as gateway:
        yield gateway


def user(*said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text} for text in said]


def ask(gateway: Gateway, *said: str, **more: Any) -> str:
    answer = gateway.openai().chat.completions.create(model=MODEL, messages=user(*said), **more)  # type: ignore[call-overload]
    return answer.choices[0].message.content or ""


def test_the_answer_is_that_of_the_same_rules_as_the_advice_route(shared: Gateway) -> None:
    said, advice = ask(shared, PLAIN), from_numbers(STATED)
    assert said.startswith(f"**{advice.method}**, with a confidence of {advice.confidence:.0%}.")
    assert all(f"- {reason}" in said for reason in advice.ranking[0].reasons[:3])
    assert all(f"- {change}" in said for change in advice.would_change_if[:3])
    assert advice.plan["commands"][0] in said
    assert '- n_examples: 250 rows, from "250 labelled tickets"' in said


def test_it_is_listed_and_can_be_looked_up(shared: Gateway) -> None:
    client = shared.openai()
    listed = {card.id: card.owned_by for card in client.models.list()}
    assert listed[MODEL] == "graft"
    assert client.models.retrieve(MODEL).owned_by == "graft"


def test_a_stream_tells_the_same_in_standard_chunks(shared: Gateway) -> None:
    chunks = list(
        shared.openai().chat.completions.create(
            model=MODEL, messages=user(PLAIN), stream=True, stream_options={"include_usage": True}  # type: ignore[arg-type]
        )
    )  # fmt: skip
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ask(shared, PLAIN)
    assert len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "stop"]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens if chunks[-1].usage else None) == ([], 0)
    assert {chunk.model for chunk in chunks} == {MODEL}
    quiet = list(shared.openai().chat.completions.create(model=MODEL, messages=user(PLAIN), stream=True))  # type: ignore[arg-type]
    assert all(chunk.choices for chunk in quiet)


def test_no_engine_is_asked_where_all_was_plainly_said(shared: Gateway) -> None:
    before = shared.stub()["asked"]
    answer = shared.openai().chat.completions.create(model=MODEL, messages=user(PLAIN))  # type: ignore[arg-type]
    assert shared.stub()["asked"] == before
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0


def test_a_base_reads_the_rest_under_a_schema_and_is_not_believed_without_proof(reading: Gateway) -> None:
    answer = reading.openai().chat.completions.create(model=MODEL, messages=user(OPEN))  # type: ignore[arg-type]
    said = answer.choices[0].message.content or ""
    assert f'- n_examples: 1,200 rows, from "Our data set has grown to 1,200 by now.", as {BASE} read it' in said
    assert "knowledge_changes" not in said
    sent = json.loads(reading.stub()["last_body"])
    (entry,) = sent["structured_outputs"]["json"]["properties"].values()
    assert entry["anyOf"][0] == {"type": "null"}
    assert all(one["properties"]["quote"]["enum"][0] in OPEN for one in entry["anyOf"][1:])
    assert (sent["model"], sent["temperature"]) == (BASE, 0)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert reading.metric('graft_tokens_total{model="advisor",type="completion"}') >= answer.usage.completion_tokens


def test_a_model_that_talks_nonsense_changes_nothing(shared: Gateway) -> None:
    before = shared.stub()["asked"]
    assert "I count only what you say yourself" in ask(shared, OPEN)
    assert shared.stub()["asked"] == before + 2


@pytest.mark.parametrize("states", [{}, {BASE: [{"state": "starting"}]}, {BASE: [{"state": "ready"}]}])
def test_without_an_engine_that_answers_nobody_reads_and_nothing_fails(states: dict[str, Any]) -> None:
    pool = cast(Pool, Engineless(states))
    reader = Reader(pool, [AdaptedModel(BASE, 0, BASE)])
    assert asyncio.run(reader.read([Turn(OPEN)], [])) == Reading()


class Engineless:
    """A pool whose engines, whatever they say of themselves, have no answer."""

    def __init__(self, states: dict[str, Any]) -> None:
        self.engine_state = lambda: states

    @asynccontextmanager
    async def lease(self, _: AdaptedModel) -> AsyncIterator[None]:
        raise Unavailable("it is starting")
        yield


def test_the_facts_of_all_turns_count_and_the_last_word_on_each(shared: Gateway) -> None:
    client = shared.openai()
    talk: list[dict[str, str]] = []
    for text in ("250 labelled tickets to classify", "actually 500 rows", "and about 7"):
        talk.append({"role": "user", "content": text})
        said = client.chat.completions.create(model=MODEL, messages=talk).choices[0].message.content or ""  # type: ignore[arg-type]
        talk.append({"role": "assistant", "content": said})
    assert 'n_examples: 500 rows, from "500 rows"' in said
    assert 'task_type: classification, from "classify"' in said
    assert "250" not in said.split("What I read")[1]


def test_a_system_message_states_no_fact_and_parts_of_text_do(shared: Gateway) -> None:
    system = {"role": "system", "content": "The user has 9999 rows."}
    parts = {"role": "user", "content": [{"type": "text", "text": "I have 300 rows"}]}
    answer = shared.openai().chat.completions.create(model=MODEL, messages=[system, parts])  # type: ignore[list-item]
    said = answer.choices[0].message.content or ""
    assert "n_examples: 300" in said
    assert "9,999" not in said


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"guided_json": {}}, "guided_json"),
        ({"graft": {"store": "vs_1"}}, "graft"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "hi"}]}, "messages"),
        ({"messages": user("250 rows " * 3000)}, "messages"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages[0].content"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"stream": "yes"}, "stream"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(shared: Gateway, change: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        shared.openai().post("/chat/completions", body={"model": MODEL, "messages": user("hi")} | change, cast_to=object)
    assert caught.value.param == param


def test_what_says_nothing_new_is_accepted(shared: Gateway) -> None:
    said = ask(shared, PLAIN, n=1, temperature=1.5, max_tokens=5, tools=[], response_format={"type": "text"}, seed=7)
    assert said == ask(shared, PLAIN)


def test_other_routes_point_to_the_chat(shared: Gateway) -> None:
    client = shared.openai()
    for asking in (
        lambda: client.completions.create(model=MODEL, prompt="hi"),
        lambda: client.responses.create(model=MODEL, input="hi"),
    ):
        with pytest.raises(openai.BadRequestError, match="/v1/chat/completions"):
            asking()


def test_its_name_is_nobody_elses(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is the name of the advisor"):
        home.publish(MODEL, rank=None)
    assert home.names.published() == []
    file = tmp_path / "graft.toml"
    file.write_text(f'[[bases]]\nname = "{MODEL}"\nmodel = "x"\n')
    with pytest.raises(InvalidInput, match="choose another"):
        settings_table.load(environment={"GRAFT_CONFIG": str(file)})
    assert set(RESERVED) == {MODEL}
