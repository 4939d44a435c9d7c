"""What callers of `/v1/responses` get, with the real client, from a gateway in front of a stub engine; without documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from adapters.adapted_model import Sampling
from adapters.prompts import PromptTemplate, Shot
from gateway.serving.telling import Telling
from gateway.wire.chunks import Chunk, Usage
from gateway.wire.response_input import messages
from gateway.wire.responses import read_request
from tests.gateway.conftest import BASE, Gateway, Home, gateway_on

ANSWER = '{"city": "Paris"}'


class City(BaseModel):
    city: str


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("responses")
    (root / "home").mkdir()
    home = Home(root / "home", root / "made")
    home.publish("prompted", rank=None, prompt=PromptTemplate("Be brief.", (Shot("2+2?", "4"),), before="Q: "))
    home.publish("sampled", rank=None, sampling=Sampling(temperature=0.25, max_tokens=5))
    with gateway_on(home, "--says", ANSWER) as running:
        yield running


def sent(gateway: Gateway) -> dict[str, Any]:
    """What the engine was asked last."""
    body: dict[str, Any] = json.loads(gateway.stub()["last_body"])
    return body


def test_an_input_is_answered_as_the_client_expects_it(gateway: Gateway) -> None:
    answer = gateway.openai().responses.create(model=BASE, input="hi", metadata={"for": "us"}, user="ada")
    assert answer.output_text == ANSWER
    assert Response.model_validate(answer.to_dict(), strict=False).status == "completed"
    assert (answer.object, answer.model, answer.metadata) == ("response", BASE, {"for": "us"})
    assert [item.type for item in answer.output] == ["message"]
    assert (answer.error, answer.incomplete_details, answer.previous_response_id) == (None, None, None)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (1, 2, 3)
    assert answer.to_dict()["store"] is False, "answers are not stored, and say so"
    assert sent(gateway)["messages"] == [{"role": "user", "content": "hi"}]


def test_a_stream_tells_the_same_answer_in_the_order_of_openais_events(gateway: Gateway) -> None:
    events = list(gateway.openai().responses.create(model=BASE, input="hi", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == ANSWER
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 2


def test_the_clients_own_stream_and_parser_work(gateway: Gateway) -> None:
    client = gateway.openai()
    with client.responses.stream(model=BASE, input="hi", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(city="Paris")
    assert client.responses.parse(model=BASE, input="hi", text_format=City).output_parsed == City(city="Paris")
    wanted = sent(gateway)["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["name"] == "City"
    assert wanted["json_schema"]["schema"]["required"] == ["city"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_cut_short_is_incomplete_and_says_why(gateway: Gateway, stream: bool) -> None:
    said = gateway.openai().responses.create(model=BASE, input="hi", max_output_tokens=1, stream=stream)
    if stream:
        last = list(said)[-1]
        assert last.type == "response.incomplete"
        said = last.response
    assert said.status == "incomplete"
    assert said.incomplete_details is not None
    assert said.incomplete_details.reason == "max_output_tokens"
    assert (said.output[0].type, said.output[0].status) == ("message", "incomplete")


def test_all_that_is_said_before_a_conversation_is_one_system_message(gateway: Gateway) -> None:
    items = [
        {"role": "developer", "content": "Speak French."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi "}, {"type": "input_text", "text": "you"}]},
    ]
    gateway.openai().responses.create(model="prompted", instructions="Be kind.", input=items)
    assert [(m["role"], m["content"]) for m in sent(gateway)["messages"]] == [
        ("system", "Be brief.\n\nBe kind.\n\nSpeak French."),
        ("user", "Q: 2+2?"),
        ("assistant", "4"),
        ("user", "Q: Hi you"),
    ]


def test_an_earlier_output_can_be_sent_back_as_it_came(gateway: Gateway) -> None:
    client = gateway.openai()
    conversation: list[Any] = [{"role": "user", "content": "hi"}]
    conversation += client.responses.create(model=BASE, input=conversation).output
    conversation.append({"role": "user", "content": "and?"})
    client.responses.create(model=BASE, input=conversation)
    assert [(m["role"], m["content"]) for m in sent(gateway)["messages"]] == [
        ("user", "hi"), ("assistant", ANSWER), ("user", "and?"),
    ]  # fmt: skip


def test_sampling_is_the_callers_before_the_models(gateway: Gateway) -> None:
    client = gateway.openai()
    answer = client.responses.create(model="sampled", input="hi")
    assert (sent(gateway)["temperature"], sent(gateway)["max_tokens"], answer.temperature) == (0.25, 5, 0.25)
    answer = client.responses.create(model="sampled", input="hi", temperature=1, max_output_tokens=20)
    assert (sent(gateway)["temperature"], sent(gateway)["max_completion_tokens"], answer.temperature) == (1, 20, 1)
    assert "max_tokens" not in sent(gateway)


def test_functions_are_offered_to_the_engine_as_a_chats_tools(gateway: Gateway) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "name": "weather", "parameters": schema, "description": "Of today.", "strict": True}
    choice = {"type": "function", "name": "weather"}
    answer = gateway.openai().responses.create(model=BASE, input="hi", tools=[tool], tool_choice=choice)
    assert sent(gateway)["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "Of today.", "parameters": schema, "strict": True}}
    ]
    assert sent(gateway)["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert answer.tools[0].to_dict() == tool


def test_calls_and_their_outputs_become_the_messages_of_a_chat() -> None:
    body = {
        "model": BASE,
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]},
        ],
    }
    _, called, *outputs = messages(read_request(json.dumps(body).encode()))
    assert [call["id"] for call in called["tool_calls"]] == ["a", "b"]
    assert [(output["tool_call_id"], output["content"]) for output in outputs] == [("a", "1"), ("b", "2")]


def test_a_call_of_the_engine_is_told_as_an_item_of_its_own() -> None:
    def pieces(*calls: dict[str, Any], **more: Any) -> Chunk:
        return chunk_of({"choices": [{"delta": {"tool_calls": list(calls)}} | more]})

    telling = Telling(read_request(b'{"model": "m", "input": "hi"}'), "m", "", None, {})
    told = b"".join(
        [
            *telling.begin(),
            *telling.told(chunk_of({"choices": [{"delta": {"content": "Let me see."}}]})),
            *telling.told(pieces({"index": 0, "id": "x", "function": {"name": "weather", "arguments": ""}})),
            *telling.told(pieces({"index": 0, "function": {"arguments": '{"city": '}})),
            *telling.told(pieces({"index": 0, "function": {"arguments": '"Paris"}'}})),
            *telling.told(pieces({"index": 1, "function": {"name": "time", "arguments": "{}"}}, finish_reason="tool_calls")),
            *telling.end(Usage(3, 4)),
        ]
    )
    response = Response.model_validate(telling.response)
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    called = response.output[1]
    assert called.type == "function_call"
    assert (called.name, called.arguments, called.status) == ("weather", '{"city": "Paris"}', "completed")
    assert told.count(b"event: response.function_call_arguments.done") == 2


def chunk_of(raw: dict[str, Any]) -> Chunk:
    return msgspec.convert(raw, Chunk)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": 3}, "model"),
        ({"model": "nope"}, "model"),
        ({"input": None}, "input"),
        ({"input": "word " * 5000}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "file_search"}]}, "tools[0].vector_store_ids"),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools[0].vector_store_ids"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["a"], "max_num_results": 51}]}, "tools[0].max_num_results"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"temperature": "hot"}, "temperature"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"metadata": {"x": "y" * 600}}, "metadata"),
        ({"made_up": 1}, "made_up"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_done_here_is_refused_by_the_name_of_its_field(
    gateway: Gateway, change: dict[str, object], param: str, stream: bool
) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        gateway.openai().post("/responses", body={"model": BASE, "input": "hi", "stream": stream} | change, cast_to=object)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    "harmless",
    [
        {"store": True}, {"background": False}, {"truncation": "disabled"}, {"service_tier": "auto"},
        {"text": {"format": {"type": "text"}}}, {"prompt_cache_key": "x"}, {"parallel_tool_calls": True},
    ],
)  # fmt: skip
def test_what_asks_for_nothing_is_accepted(gateway: Gateway, harmless: dict[str, Any]) -> None:
    assert gateway.openai().responses.create(model=BASE, input="hi", **harmless).status == "completed"


def test_a_response_cannot_be_asked_for_again(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        gateway.openai().responses.retrieve(gateway.openai().responses.create(model=BASE, input="hi").id)


def test_headers_and_metrics_are_those_of_every_answer(gateway: Gateway) -> None:
    answered = f'graft_requests_total{{model="{BASE}",route="/v1/responses",status="200"}}'
    tokens = f'graft_tokens_total{{model="{BASE}",type="completion"}}'
    timed = f'graft_request_duration_seconds_count{{model="{BASE}",route="/v1/responses"}}'
    before = [gateway.metric(line) for line in (answered, tokens, timed)]
    raw = gateway.openai().responses.with_raw_response.create(model=BASE, input="hi")
    assert raw.headers["x-graft-model"] == f"{BASE}@0"
    after = [gateway.metric(line) for line in (answered, tokens, timed)]
    assert after == [before[0] + 1, before[1] + 2, before[2] + 1]
