"""Stored prompts: over HTTP, from the command line, in a chat; fast once read, and never older than the last change."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openai
import pytest

from adapters.adapted_model import AdaptedModel
from adapters.bases import open_tokenizer
from adapters.data import readers
from adapters.data.tokens import prompt_ids
from adapters.errors import InvalidInput, NotFound
from adapters.prompting.library import PromptLibrary
from adapters.prompting.pool import open_pool
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import Selection, Shot
from adapters.registry import Registry
from gateway.files import FileStore
from gateway.prompting import Prompting
from tests.gateway.conftest import BASE, Gateway
from tests.tiny import tiny_llama

DESK = Path(__file__).parents[2] / "examples" / "support_desk"
CARD = """\
name: Bean Card
description: The card under a bag
model: tiny
modelParameters: {temperature: 0.4, maxTokens: 12}
messages:
  - role: system
    content: You write cards for {{shop}}.
  - role: user
    content: "Card for {{bean}}"
examples:
  - {user: Card for Huila, assistant: Huila!}
  - {user: Card for Yirga, assistant: Yirga!}
  - {user: Card for Kivu, assistant: Kivu!}
"""
VALUES = {"shop": "Larkfield", "bean": "Sidamo"}
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


def words(texts: Sequence[str]) -> np.ndarray:
    """Vectors of which words stand there: enough to know what is nearest."""
    vectors = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            vectors[row, sum(word.encode()) % 64] += 1
    return vectors / np.maximum(1e-6, np.linalg.norm(vectors, axis=1, keepdims=True))


@dataclass
class Child:
    """The encoder child as far as prompts know it, in this process."""

    encoder: str = "words"
    asked: list[Path] = field(default_factory=list)

    async def about(self) -> Child:
        return self

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Any:
        self.vectors = words(texts)
        return self

    async def choose(self, pool: Path, question: str, selection: Selection) -> list[Shot]:
        self.asked.append(pool)
        return choose(open_pool(pool), selection, question, words([question])[0])


@pytest.fixture
def prompting(tmp_path: Path) -> Prompting:
    return Prompting(PromptLibrary(tmp_path / "prompts"), FileStore(tmp_path / "files"), Child())


def resolved(prompting: Prompting, name: str, **more: Any) -> Any:
    return asyncio.run(prompting.resolve({"id": name, **more}))


# a request's prompt


def test_a_reference_becomes_messages_and_what_the_file_says_of_the_answer(prompting: Prompting) -> None:
    asyncio.run(prompting.add(CARD))
    found = resolved(prompting, "bean-card", variables=VALUES)
    said = [message["content"] for message in found.messages]
    assert (said[0], said[1], said[-1]) == ("You write cards for Larkfield.", "Card for Huila", "Card for Sidamo")
    assert (found.model, found.defaults) == ("tiny", {"temperature": 0.4, "max_tokens": 12})
    wrapped = {"shop": {"type": "input_text", "text": "Larkfield"}, "bean": "Sidamo"}
    assert resolved(prompting, "bean-card", variables=wrapped).messages == found.messages


def test_what_is_asked_is_not_among_the_examples(prompting: Prompting) -> None:
    asyncio.run(prompting.add(CARD))
    found = resolved(prompting, "bean-card", variables=VALUES | {"bean": " huila"})
    assert [message["content"] for message in found.messages if message["role"] == "assistant"] == ["Yirga!", "Kivu!"]


def test_a_version_is_that_of_the_label_of_production_else_the_latest(prompting: Prompting) -> None:
    first = asyncio.run(prompting.add(CARD))
    second = asyncio.run(prompting.add(CARD.replace("Card for {{bean}}", "A card for {{bean}}")))
    assert resolved(prompting, "bean-card", variables=VALUES).version == 2
    prompting.library.label("bean-card", "production", "1")
    said = (None, "1", "2", "latest", "production", second.digest[:8], first.digest)
    assert [resolved(prompting, "bean-card", version=v, variables=VALUES).version for v in said] == [1, 1, 2, 2, 1, 2, 1]


def test_every_change_is_seen_by_the_next_request_however_soon_it_comes(prompting: Prompting) -> None:
    tick = time.time_ns() + 10**10  # all that happens here falls into one step of the file system's clock
    for number in range(1, 6):
        version = asyncio.run(prompting.add(f"{CARD}# {number}\n"))
        prompting.library.label("bean-card", "production", str(number))
        os.utime(version.folder.parent / "versions", ns=(tick, tick))
        assert resolved(prompting, "bean-card", variables=VALUES).version == number


def test_a_change_is_seen_by_a_gateway_that_has_the_old_state_in_memory(prompting: Prompting) -> None:
    version = asyncio.run(prompting.add(CARD))
    for number in (1, 2):
        os.utime(version.folder.parent / "versions", ns=(number, number))
        assert resolved(prompting, "bean-card", variables=VALUES).version == number
        asyncio.run(prompting.add(f"{CARD}# {number}\n"))


def test_what_was_read_once_is_rendered_without_reading_it_again(prompting: Prompting) -> None:
    version = asyncio.run(prompting.add(CARD))
    os.utime(version.folder.parent / "versions", ns=(1, 1))  # it was added long ago
    resolved(prompting, "bean-card", variables=VALUES)
    shutil.rmtree(version.folder)

    async def timed() -> float:
        began = time.perf_counter()
        await prompting.resolve({"id": "bean-card", "variables": VALUES})
        return time.perf_counter() - began

    async def often() -> float:
        return median([await timed() for _ in range(200)])

    assert asyncio.run(often()) < 0.005, "on a busy machine too; it takes a tenth of a millisecond"


def test_what_is_wrong_with_a_reference_names_prompt_and_field(prompting: Prompting) -> None:
    asyncio.run(prompting.add(CARD))
    with pytest.raises(InvalidInput, match=r"prompt 'bean-card', version 1: 'bean' is missing; 'ben' is not an input") as wrong:
        resolved(prompting, "bean-card", variables={"shop": "x", "ben": "y"})
    assert wrong.value.param == "prompt.variables"
    with pytest.raises(InvalidInput, match="'bean' must be a string, not 3"):
        resolved(prompting, "bean-card", variables=VALUES | {"bean": 3})
    for reference, param in (({"id": "cards"}, "prompt.id"), ({"id": "bean-card", "version": "9"}, "prompt.version")):
        with pytest.raises(NotFound) as missing:
            asyncio.run(prompting.resolve(reference))
        assert missing.value.param == param
    with pytest.raises(InvalidInput, match=r"'\.\./\.\./etc/passwd' cannot be a prompt name") as outside:
        resolved(prompting, "../../etc/passwd")
    assert outside.value.param == "prompt.id"


def test_examples_chosen_by_meaning_come_from_the_encoder_child(prompting: Prompting) -> None:
    version = asyncio.run(prompting.add(NEAREST))
    assert version.pool is not None
    assert open_pool(version.pool).encoder == "words"
    found = resolved(prompting, "nearest", variables={"q": "my bicycle is flat"})
    assert [message["content"] for message in found.messages] == ["my bicycle has a flat tyre", "garage", "my bicycle is flat"]
    assert prompting._retriever.asked == [version.pool]  # type: ignore[attr-defined]


def test_examples_chosen_by_words_need_no_encoder(prompting: Prompting) -> None:
    asyncio.run(prompting.add(NEAREST.replace("knn", "bm25")))
    found = resolved(prompting, "nearest", variables={"q": "which tomatoes"})
    assert found.messages[1]["content"] == "garden"
    assert prompting._retriever.asked == []  # type: ignore[attr-defined]


# over HTTP


def test_prompts_come_in_as_yaml_or_json_and_are_listed_shown_labelled_and_rendered(shared: Gateway) -> None:
    with shared.http() as client:
        yaml = {"content-type": "application/yaml; charset=utf-8"}
        first = client.post("/v1/graft/prompts", content=CARD, headers=yaml, params={"message": "as the shop wants it"}).json()
        assert (first["id"], first["version"], first["labels"]) == ("bean-card", 1, [])
        assert first["message"] == "as the shop wants it"
        assert first["inputs"]["bean"] == {"type": "string", "required": True}
        again = client.post("/v1/graft/prompts", json={"content": CARD, "name": "bean-card"}).json()
        assert (again["version"], again["digest"]) == (1, first["digest"])
        second = client.post("/v1/graft/prompts", json={"content": CARD.replace("cards for", "labels for")}).json()
        assert second["versions"] == [1, 2]
        labelled = client.put("/v1/graft/prompts/bean-card/labels/production", json={"version": 1}).json()
        assert (labelled["version"], labelled["labels"]) == (1, ["production"])
        (listed,) = [each for each in client.get("/v1/graft/prompts").json()["data"] if each["id"] == "bean-card"]
        assert (listed["version"], listed["content"]) == (2, None)
        assert client.get("/v1/graft/prompts/bean-card").json()["content"] == CARD
        assert client.get("/v1/graft/prompts/bean-card", params={"version": second["digest"][:6]}).json()["version"] == 2
        asked = {"variables": VALUES, "version": 2, "budget_tokens": 60}
        rendered = client.post("/v1/graft/prompts/bean-card/render", json=asked).json()
        assert rendered["messages"][0]["content"] == "You write labels for Larkfield."
        assert rendered["tokens"] <= 60
        assert (rendered["shots"], rendered["dropped_shots"]) == (2, 1)


def test_examples_may_be_an_uploaded_file(shared: Gateway) -> None:
    client = shared.openai()
    rows = client.files.create(file=("rows.csv", b"ticket,queue\nno steam,repair\n"), purpose="user_data")
    text = """\
messages: [{role: user, content: "{{ ticket }}"}]
examples: {source: %s, user: "{{ ticket }}", assistant: "{{ queue }}"}
"""
    with shared.http() as http:
        made = http.post("/v1/graft/prompts", json={"content": text % rows.id, "name": "uploaded"})
        assert made.status_code == 200, made.text
        client.files.delete(rows.id)
        shown = http.post("/v1/graft/prompts/uploaded/render", json={"variables": {"ticket": "late"}}).json()
        assert [message["content"] for message in shown["messages"]] == ["no steam", "repair", "late"]
        refused = http.post("/v1/graft/prompts", json={"content": text % "../../etc/passwd", "name": "outside"})
        assert refused.status_code == 400
        assert "send it with POST /v1/files" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"content": CARD.replace("{{bean}}", "{{bean}")}, "messages[1].content", "not a template"),
        ({"content": CARD.replace("messages", "mesages")}, "mesages", "did you mean 'messages'"),
        ({"content": "- a"}, None, "a prompt file is a table"),
        ({"content": CARD, "name": "../up"}, "name", "cannot be a prompt name"),
        ({"contents": CARD}, "contents", "unknown field"),
        ({}, "content", "missing required field"),
    ],
)
def test_a_prompt_that_cannot_be_stored_is_refused_with_the_place(
    shared: Gateway, body: dict[str, Any], param: str | None, words: str
) -> None:
    with shared.http() as client:
        answer = client.post("/v1/graft/prompts", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]


def test_a_chat_names_a_prompt_and_the_engine_sees_its_messages_and_parameters(shared: Gateway) -> None:
    with shared.http() as http:
        http.post("/v1/graft/prompts", json={"content": CARD, "name": "asked"})
    reference = {"id": "asked", "version": "1", "variables": VALUES}
    shared.openai().chat.completions.create(model=BASE, messages=[], extra_body={"prompt": reference}, temperature=0.9)
    sent = json.loads(shared.stub()["last_body"])
    assert [message["content"] for message in sent["messages"]][::7] == ["You write cards for Larkfield.", "Card for Sidamo"]
    assert (sent["temperature"], sent["max_tokens"]) == (0.9, 12), "the caller's word goes before the file's"
    assert "prompt" not in sent
    with pytest.raises(openai.BadRequestError, match="'bean' is missing"):
        shared.openai().chat.completions.create(model=BASE, messages=[], extra_body={"prompt": {"id": "asked"}})
    with pytest.raises(openai.NotFoundError, match="no prompt named 'askd'; did you mean 'asked'"):
        shared.openai().chat.completions.create(model=BASE, messages=[], extra_body={"prompt": {"id": "askd"}})


def test_a_prompt_that_names_its_model_is_asked_without_saying_one(shared: Gateway) -> None:
    lines = CARD.replace("model: tiny", "model: clipped"), CARD.replace("model: tiny\n", ""), CARD.replace("tiny", "openai/gpt")
    with shared.http() as http:
        for name, content in zip(("named", "unnamed", "elsewhere"), lines, strict=True):
            http.post("/v1/graft/prompts", json={"content": content, "name": name}).raise_for_status()
    client = shared.openai()
    chat, answer = client.chat.completions.create, client.responses.create
    prompt: Any = {"id": "named", "variables": VALUES}
    assert chat(model=openai.omit, messages=[], extra_body={"prompt": prompt}).model == "clipped"  # type: ignore[call-overload]
    assert chat(model=BASE, messages=[], extra_body={"prompt": prompt}).model == BASE, "the caller's word goes first"
    raw = client.responses.with_raw_response.create(prompt=prompt)
    assert (raw.headers["x-graft-model"], raw.parse().model) == ("clipped@1", "clipped")
    with answer(prompt=prompt, stream=True) as events:
        assert {event.response.model for event in events if event.type == "response.created"} == {"clipped"}
    with pytest.raises(openai.BadRequestError, match="the body has no 'model', and prompt 'unnamed' names none") as neither:
        answer(prompt=prompt | {"id": "unnamed"})
    assert (neither.value.param, neither.value.code) == ("model", "missing_required_parameter")
    with pytest.raises(openai.NotFoundError, match="prompt 'elsewhere' names one that is not here: The model 'openai/gpt'"):
        answer(prompt=prompt | {"id": "elsewhere"})
    with pytest.raises(openai.BadRequestError, match="the body has no 'model'"):
        answer(input="hi")
    with pytest.raises(openai.BadRequestError, match="the body has no 'model'"):
        chat(model=openai.omit, messages=[])  # type: ignore[call-overload]


# from the command line


def graft(home: Path, *arguments: str, status: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli.main", "prompts", *arguments]
    variables = os.environ | {"GRAFT_STORAGE_HOME": str(home), "GRAFT_STORAGE_CACHE": str(home / "cache")} | settings
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == status, done.stderr
    return done


def test_a_prompt_is_stored_compared_labelled_and_published_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "triage.prompt.yml"
    shutil.copy(DESK / "tickets.jsonl", tmp_path)
    file.write_text((DESK / "triage.prompt.yml").read_text())
    assert "triage has version 1" in graft(tmp_path, "add", str(file), "-m", "first").stderr
    file.write_text(file.read_text().replace("k: 6", "k: 3"))
    graft(tmp_path, "add", str(file))
    assert graft(tmp_path, "ls", "-q").stdout == "triage\n"
    assert "-  select: {strategy: bm25, k: 6, max_tokens: 600}\n+" in graft(tmp_path, "diff", "triage").stdout
    graft(tmp_path, "promote", "triage", "1")
    shown = json.loads(graft(tmp_path, "show", "triage", "--json").stdout)
    assert (shown["version"], shown["labels"], shown["message"], shown["examples"]) == (1, ["production"], "first", 240)
    graft(tmp_path, "promote", "triage", "2", "--as", "router", "--base", "smollm2")
    model: AdaptedModel = Registry(tmp_path / "models").load("router", 1)
    assert model.prompt is not None
    assert model.prompt.select is not None
    assert (model.base, model.prompt.select.strategy, model.prompt.select.k) == ("smollm2", "bm25", 3)
    assert model.sampling.wire() == {"temperature": 0, "max_tokens": 8}
    assert model.lineage.recipe["prompt_version"] == 2
    assert "no prompt named 'triag'; did you mean 'triage'?" in graft(tmp_path, "show", "triag", status=1).stderr


def test_rendering_shows_messages_tokens_and_what_was_left_out(tmp_path: Path) -> None:
    asked = ("render", str(DESK / "triage.prompt.yml"), "--var", "ticket=The courier never came")
    whole = json.loads(graft(tmp_path, *asked, "--json").stdout)
    assert (whole["shots"], whole["dropped_shots"], whole["messages"][-1]["content"]) == (6, 0, "The courier never came")
    assert whole["counted_by"] == "", "no base is at hand"
    tiny = json.dumps([{"name": BASE, "model": str(tiny_llama(tmp_path / BASE))}])
    counted = json.loads(graft(tmp_path, *asked, "--json", GRAFT_BASES=tiny).stdout)
    ids = prompt_ids(open_tokenizer(tmp_path / BASE), counted["messages"])
    assert (counted["counted_by"], counted["tokens"]) == (BASE, len(ids))
    short = graft(tmp_path, *asked, "--budget", str(whole["tokens"] - 1))
    assert "left out for the budget: " in short.stderr
    assert "5 examples" in short.stderr
    refused = graft(tmp_path, "render", str(DESK / "triage.prompt.yml"), "--var", "tiket=x", status=1).stderr
    assert "triage.prompt.yml: 'ticket' is missing; 'tiket' is not an input of this prompt; did you mean 'ticket'?" in refused


def test_rows_are_rendered_as_data_to_tune_on(tmp_path: Path) -> None:
    rows, made = tmp_path / "rows.csv", tmp_path / "made.jsonl"
    rows.write_text("shop,bean,expected\nLarkfield,Sidamo,Sidamo!\nLarkfield,Kivu,Kivu!\n")
    card = tmp_path / "card.yml"
    card.write_text(CARD)
    graft(tmp_path, "render", str(card), "--data", str(rows), "--out", str(made))
    first, second = readers.read(made)
    assert [message.content for message in first.messages] == ["You write cards for Larkfield.", "Card for Sidamo", "Sidamo!"]
    assert (second.question, second.answer) == ("Card for Kivu", "Kivu!")
    rows.write_text("shop,expected\nLarkfield,x\n")
    wrong = graft(tmp_path, "render", str(card), "--data", str(rows), status=1).stderr
    assert "line 2: 'bean' is missing" in wrong.replace("\n", " ")
