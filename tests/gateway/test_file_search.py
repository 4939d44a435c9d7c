"""Answers from documents, as the unmodified client asks for them: a real encoder, a real store, a stub engine that cites."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types.responses import Response, ResponseFileSearchToolCall, ResponseOutputText

from adapters.adapted_model import AdaptedModel, RetrievalSpec
from adapters.errors import GraftError
from adapters.prompting.pool import write_pool
from adapters.prompts import PromptTemplate, Selection, Shot
from gateway.cli import chat as cli
from gateway.serving.silence import SENTENCE
from tests.gateway.conftest import BASE, Gateway, Home, eventually, gateway_on
from tests.gateway.test_leaving import send

ANSWER = "Logs of the premium plan are kept for 90 days."
PLANS = """# Plans

## Basic
The basic plan has one seat and keeps logs for 7 days.

## Premium
The premium plan has twenty seats. Its logs are kept for 90 days, and longer on request.
"""
REFUNDS = "Refunds are paid to the card that was charged, within five working days. Éclairs are not refunded.\n"
QUESTION = "For how long are the logs of the premium plan kept?"
FAR = "Which spices belong into a Thai curry?"


@dataclass
class House:
    gateway: Gateway
    store: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """By name: the id."""

    @property
    def client(self) -> openai.OpenAI:
        return self.gateway.openai()

    @property
    def tool(self) -> dict[str, Any]:
        return {"type": "file_search", "vector_store_ids": [self.store]}

    def sent(self) -> dict[str, Any]:
        """What the engine was asked last."""
        body: dict[str, Any] = json.loads(self.gateway.stub()["last_body"])
        return body

    def asked(self) -> int:
        return int(self.gateway.stub()["asked"])

    def publish(self, name: str, **parts: Any) -> AdaptedModel:
        """Without an adapter, under a name of its own."""
        home = self.gateway.home
        pool = parts.pop("pool", None)
        published = home.registry.publish(home.registry.add(AdaptedModel(name, 0, BASE, **parts), pool=pool))
        home.names.promote(name, published.version)
        return published


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Its encoder has not been started, as far as tests before did not need it."""
    root = tmp_path_factory.mktemp("documents")
    (root / "home").mkdir()
    with gateway_on(Home(root / "home", root / "made"), "--says", ANSWER) as gateway:
        yield House(gateway)


@pytest.fixture(scope="module")
def house(fresh: House) -> House:
    client = fresh.client
    store = client.vector_stores.create(name="handbook")
    for name, text, about in (("plans.md", PLANS, {"year": 2024}), ("refunds.txt", REFUNDS, {"year": 2020})):
        file = client.files.create(file=(name, text.encode()), purpose="assistants")
        put = client.vector_stores.files.create_and_poll(file_id=file.id, vector_store_id=store.id, attributes=about)
        assert put.status == "completed", put.last_error
        fresh.files[name] = file.id
    fresh.store = store.id
    return fresh


def search_of(response: Response) -> ResponseFileSearchToolCall:
    item = response.output[0]
    assert item.type == "file_search_call"
    return item


def text_of(response: Response) -> ResponseOutputText:
    item = response.output[-1]
    assert item.type == "message"
    part = item.content[0]
    assert part.type == "output_text"
    return part


def test_a_caller_may_leave_while_the_encoder_starts_and_others_wait_for_it(fresh: House) -> None:
    folder = fresh.gateway.home.scratch / "words"
    digest = write_pool(folder, [Shot("a pear", "fruit"), Shot("an oak", "tree")])
    fresh.publish("kinds", prompt=PromptTemplate(select=Selection("bm25", 1, digest)), pool=folder)
    inflight = 'graft_inflight{model="kinds"}'
    caller = send(fresh.gateway, model="kinds", messages=[{"role": "user", "content": "one oak"}])
    eventually(lambda: fresh.gateway.metric(inflight) == 1)
    caller.close()
    eventually(lambda: fresh.gateway.metric(inflight) == 0, 2)
    assert fresh.asked() == 0
    answer = fresh.client.responses.create(model="kinds", input="one oak", timeout=90)
    assert answer.output_text == ANSWER
    assert fresh.sent()["messages"][0] == {"role": "user", "content": "an oak"}


def test_an_answer_from_documents_says_what_was_searched_and_cites_its_source(house: House) -> None:
    answer = house.client.responses.create(
        model=BASE, input=QUESTION, tools=[house.tool], include=["file_search_call.results"]
    )  # fmt: skip
    found = search_of(answer)
    assert (found.status, found.queries) == ("completed", [QUESTION])
    assert found.results is not None
    best = found.results[0]
    assert (best.file_id, best.filename, best.attributes) == (house.files["plans.md"], "plans.md", {"year": 2024})
    assert best.score is not None
    assert 0 < best.score <= 1
    assert "kept for 90 days" in str(best.text)

    assert answer.output_text == ANSWER
    (citation,) = text_of(answer).annotations
    assert citation.type == "file_citation"
    assert (citation.file_id, citation.filename, citation.index) == (house.files["plans.md"], "plans.md", len(ANSWER))
    place = citation.to_dict()
    assert "logs are kept for 90 days" in PLANS[place["start"] : place["end"]], "offsets point into the source"


def test_the_engine_is_shown_the_passages_before_the_question_and_nothing_else_of_the_request(house: House) -> None:
    house.client.responses.create(model=BASE, input=QUESTION, tools=[house.tool])
    body = house.sent()
    assert "tools" not in body
    (message,) = body["messages"]
    assert message["content"].index("kept for 90 days") < message["content"].index(QUESTION)
    assert 'source="plans.md' in message["content"]


def test_results_are_told_to_those_who_ask_for_them(house: House) -> None:
    assert search_of(house.client.responses.create(model=BASE, input=QUESTION, tools=[house.tool])).results is None


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"max_num_results": 1}, {"plans.md"}),
        ({"filters": {"type": "lt", "key": "year", "value": 2022}}, {"refunds.txt"}),
        ({"filters": {"type": "eq", "key": "year", "value": 1999}}, set()),
        ({"ranking_options": {"score_threshold": 0.99}}, set()),
        ({"ranking_options": {"ranker": "none", "hybrid_search": {"embedding_weight": 1, "text_weight": 0}}}, None),
    ],
)
def test_the_tool_says_what_may_be_found(house: House, change: dict[str, Any], names: set[str] | None) -> None:
    answer = house.client.responses.create(
        model=BASE, input=QUESTION, tools=[house.tool | change], include=["file_search_call.results"]
    )
    results = search_of(answer).results
    assert results is not None
    assert names is None or {result.filename for result in results} == names
    if not results:
        assert "No document was found" in house.sent()["messages"][0]["content"]
        assert text_of(answer).annotations == []


def test_a_stream_tells_of_the_search_first_and_of_the_citations_last(house: House) -> None:
    events = list(house.client.responses.create(model=BASE, input=QUESTION, tools=[house.tool], stream=True))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    with house.client.responses.stream(model=BASE, input=QUESTION, tools=[house.tool]) as stream:
        final = stream.get_final_response()
    assert final.output_text == ANSWER
    assert len(text_of(final).annotations) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "kind", "param"),
    [
        ({"vector_store_ids": ["vs_gone"]}, openai.NotFoundError, "tools[0].vector_store_ids"),
        ({"filters": {"type": "eq", "key": "year"}}, openai.BadRequestError, "tools[0].filters.value"),
        ({"ranking_options": {"ranker": "best"}}, openai.BadRequestError, "tools[0].ranking_options.ranker"),
        (
            {"ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}},
            openai.BadRequestError,
            "tools[0].ranking_options.hybrid_search",
        ),
    ],
)
def test_a_search_that_cannot_be_made_is_an_error_in_words(
    house: House, change: dict[str, Any], kind: type[openai.APIStatusError], param: str, stream: bool
) -> None:
    before = house.asked()
    with pytest.raises(kind) as caught:
        house.client.responses.create(model=BASE, input=QUESTION, tools=[house.tool | change], stream=stream)
    assert caught.value.param == param
    assert house.asked() == before


def test_a_chat_with_a_store_by_its_name_says_in_a_header_what_was_shown(house: House) -> None:
    messages: list[Any] = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Yes?"},
                           {"role": "user", "content": QUESTION}]  # fmt: skip
    raw = house.client.chat.completions.with_raw_response.create(
        model=BASE, messages=messages, extra_body={"graft": {"store": "handbook", "passages": 1}}
    )
    file, place, score = raw.headers["x-graft-passages"].rsplit(":", 2)
    start, end = map(int, place.split("-"))
    assert file == house.files["plans.md"]
    assert "kept for 90 days" in PLANS[start:end]
    assert 0 < float(score) <= 1
    body = house.sent()
    assert "graft" not in body
    assert [m["content"] for m in body["messages"][:2]] == ["Hello.", "Yes?"]
    assert PLANS[start:end].strip() in body["messages"][2]["content"]


def test_an_adapted_model_answers_from_its_own_store_under_its_name(house: House) -> None:
    house.publish("helpdesk", prompt=PromptTemplate("Be brief."), retrieval=RetrievalSpec(house.store, passages=1))
    raw = house.client.chat.completions.with_raw_response.create(
        model="helpdesk", messages=[{"role": "user", "content": QUESTION}]
    )  # fmt: skip
    assert raw.headers["x-graft-passages"].startswith(house.files["plans.md"])
    system, question = house.sent()["messages"]
    assert system["content"] == "Be brief."
    assert "kept for 90 days" in question["content"]
    answer = house.client.responses.create(model="helpdesk", input=QUESTION)
    assert search_of(answer).queries == [QUESTION]
    assert len(text_of(answer).annotations) == 1
    timed = 'graft_retrieval_seconds_count{step="search"}'
    assert house.gateway.metric(timed) >= 2


def test_a_model_that_says_nothing_without_documents_asks_no_engine(house: House) -> None:
    house.publish("strict", retrieval=RetrievalSpec(house.store, min_score=0.6, when_nothing="refuse"))
    client, before = house.client, house.asked()
    messages: list[Any] = [{"role": "user", "content": FAR}]
    raw = client.chat.completions.with_raw_response.create(model="strict", messages=messages)
    answer = raw.parse()
    assert (raw.headers["x-graft-model"], raw.headers["x-graft-passages"]) == ("strict@1", "")
    assert (answer.model, answer.choices[0].message.content, answer.choices[0].finish_reason) == ("strict", SENTENCE, "stop")
    usage = {"stream_options": {"include_usage": True}}
    *chunks, last = client.chat.completions.create(model="strict", messages=messages, stream=True, **usage)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SENTENCE
    assert (last.choices, last.usage and last.usage.total_tokens) == ([], 0)

    told = client.responses.create(model="strict", input=FAR)
    assert (told.output_text, told.status) == (SENTENCE, "completed")
    with client.responses.stream(model="strict", input=FAR) as stream:
        assert stream.get_final_response().output_text == SENTENCE
    schema = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
    shaped = client.responses.create(model="strict", input=FAR, text={"format": schema})
    assert shaped.output[-1].type == "message"
    assert shaped.output[-1].content[0].to_dict() == {"type": "refusal", "refusal": SENTENCE}
    assert house.asked() == before


def test_a_store_that_is_deleted_is_said_by_the_models_that_answer_from_it(house: House) -> None:
    gone = house.client.vector_stores.create(name="gone")
    house.publish("orphan", retrieval=RetrievalSpec(gone.id))
    house.client.vector_stores.delete(gone.id)
    for ask in (
        lambda: house.client.chat.completions.create(model="orphan", messages=[{"role": "user", "content": "hi"}]),
        lambda: house.client.responses.create(model="orphan", input="hi", stream=True),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert (caught.value.param, "'orphan' answers from" in str(caught.value)) == ("model", True)
    with_own = house.client.responses.create(model="orphan", input=QUESTION, tools=[house.tool])
    assert with_own.output_text == ANSWER, "the request's store goes before the model's"


def test_examples_near_the_question_are_chosen_by_the_encoder(house: House) -> None:
    shots = [Shot("My card was charged twice", "billing"), Shot("The app crashes at start", "bug"),
             Shot("Please add a dark theme", "wish"), Shot("I cannot log in any more", "access")]  # fmt: skip

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        made = house.client.embeddings.create(model="minilm", input=list(texts))
        return np.array([row.embedding for row in made.data], dtype=np.float32)

    folder = house.gateway.home.scratch / "pool"
    digest = write_pool(folder, shots, encode)
    house.publish("triage", prompt=PromptTemplate("Label it.", select=Selection("knn", 2, digest)), pool=folder)
    messages: list[Any] = [{"role": "user", "content": "You took money from my account two times"}]
    house.client.chat.completions.create(model="triage", messages=messages)
    said = house.sent()["messages"]
    assert [m["role"] for m in said] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert (said[3]["content"], said[4]["content"]) == ("My card was charged twice", "billing")


NEAREST = """\
name: nearest
messages: [{role: user, content: "{{ q }}"}]
examples:
  rows:
    - {user: how do I bake bread, assistant: kitchen}
    - {user: my bicycle has a flat tyre, assistant: garage}
    - {user: the tomatoes need water, assistant: garden}
  select: {strategy: knn, k: 1}
"""


def test_a_prompts_examples_are_chosen_by_meaning(house: House) -> None:
    with house.gateway.http() as client:
        client.post("/v1/graft/prompts", json={"content": NEAREST}).raise_for_status()
        shown = client.post("/v1/graft/prompts/nearest/render", json={"variables": {"q": "a puncture on my bike"}}).json()
    assert shown["messages"][1]["content"] == "garage"


def test_a_prompt_by_its_name_is_rendered_and_its_question_searched(house: House) -> None:
    text = "name: support\nmessages:\n  - role: system\n    content: Be kind.\n  - role: user\n    content: '{{question}}'\n"
    with house.gateway.http() as client:
        client.post("/v1/graft/prompts", json={"content": text}).raise_for_status()
    prompt: Any = {"id": "support", "variables": {"question": QUESTION}}
    answer = house.client.responses.create(model=BASE, prompt=prompt, instructions="In one sentence.", tools=[house.tool])
    assert search_of(answer).queries == [QUESTION]
    assert house.sent()["messages"][0]["content"] == "Be kind.\n\nIn one sentence."
    assert "prompt" not in house.sent()
    with pytest.raises(openai.BadRequestError) as caught:
        house.client.responses.create(model=BASE, prompt={"id": "support"})
    assert "question" in str(caught.value)


def test_a_person_at_a_terminal_sees_which_passages_were_used(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "open_client", lambda: house.client)
    cli.chat(BASE, question=QUESTION, store="handbook", passages=1)
    said = capsys.readouterr()
    assert said.out.strip() == ANSWER
    assert re.fullmatch(r"\[1\] plans\.md, characters \d+-\d+, score 0\.\d+\n", said.err)
    listed = "`graft stores ls` and GET /v1/vector_stores list them"
    with pytest.raises(GraftError, match=f"^there is no vector store 'nowhere'; {listed}$"):
        cli.chat(BASE, question=QUESTION, store="nowhere")
