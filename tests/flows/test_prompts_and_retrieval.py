"""Prompts and documents on a real vLLM: the unmodified OpenAI client from files to cited answers, and a kill in mid-ingest.

On the server that flows share. The last test kills its gateway, which `graft serve` starts again on the same home.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseOutputText

from tests.flows.serving import Served, children_of, command_of, processes_matching, wait_gone

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

BASE, ENCODER = "smollm2", "minilm"
PLANS = """# Plans

## Basic
The basic plan has one seat and keeps logs for 7 days.

## Premium
The premium plan has twenty seats. Its logs are kept for 90 days, and longer on request.
"""
LATHE = """# Lathe – manual

## Error codes
Error E4711 means that the drum does not turn: open the service flap and remove the transport bolts.
Error E4712 means that the oil is low.
"""
HOURS = "The workshop in Graz is open on Tuesdays and Thursdays from nine until noon.\n"
SOURCES = {"plans.md": PLANS, "lathe.md": LATHE, "hours.txt": HOURS}
QUESTION = "What does error E4711 mean?"
PROMPT = """\
name: desk
model: smollm2
modelParameters: {temperature: 0, maxTokens: 24}
inputs:
  thing: {type: string}
messages:
  - {role: system, content: Answer with one word.}
  - {role: user, content: "What is the capital of {{ thing }}?"}
"""


@dataclass
class House:
    served: Served
    store: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """By name: the id."""

    @property
    def client(self) -> OpenAI:
        return self.served.client

    @property
    def tool(self) -> Any:
        return {"type": "file_search", "vector_store_ids": [self.store], "max_num_results": 2}

    def upload(self, name: str, text: str) -> str:
        return self.client.files.create(file=(name, text.encode()), purpose="assistants").id


@pytest.fixture(scope="module")
def fresh(served: Served) -> House:
    served.wait_ready()  # tests of other files may have killed its engine
    return House(served)


@pytest.fixture(scope="module")
def house(fresh: House) -> House:
    """With a store of three documents, the first put in alone and the others together."""
    store = fresh.client.vector_stores.create(name="handbook")
    fresh.files |= {name: fresh.upload(name, text) for name, text in SOURCES.items()}
    alone = fresh.client.vector_stores.files.create_and_poll(
        file_id=fresh.files["plans.md"], vector_store_id=store.id, attributes={"desk": "sales"}
    )
    assert alone.status == "completed", alone.last_error
    others: Any = [{"file_id": fresh.files[name], "attributes": {"desk": "repair"}} for name in ("lathe.md", "hours.txt")]
    batch = fresh.client.vector_stores.file_batches.create_and_poll(store.id, files=others)
    assert (batch.status, batch.file_counts.completed) == ("completed", 2)
    fresh.store = store.id
    return fresh


def test_texts_are_embedded_alike_as_floats_and_as_base64_and_shorter_where_asked(fresh: House) -> None:
    texts = ["a lathe whose drum does not turn", "opening hours"]
    plain = fresh.client.embeddings.create(model=ENCODER, input=texts, encoding_format="float")
    packed = fresh.client.embeddings.create(model=ENCODER, input=texts)  # the client asks for base64 and unpacks it
    vectors = np.array([item.embedding for item in plain.data])
    assert vectors.shape == (2, 384)
    assert np.allclose(vectors, [item.embedding for item in packed.data], atol=1e-6)
    short = np.array(fresh.client.embeddings.create(model=ENCODER, input=texts[0], dimensions=128).data[0].embedding)
    assert np.allclose(short, vectors[0][:128] / np.linalg.norm(vectors[0][:128]), atol=1e-5)


def test_a_search_finds_the_passage_and_a_filter_keeps_to_its_files(house: House) -> None:
    search = house.client.vector_stores.search
    assert search(house.store, query=QUESTION).data[0].filename == "lathe.md"
    kept = search(house.store, query=QUESTION, filters={"type": "eq", "key": "desk", "value": "sales"})
    assert [hit.filename for hit in kept.data] == ["plans.md"] * len(kept.data) != []


def cited(answer: Response) -> list[str]:
    """What the citations of an answer point at, in the files as they were uploaded."""
    message: Any = answer.output[-1]
    (part,) = message.content
    assert isinstance(part, ResponseOutputText)
    places: list[Any] = [annotation.to_dict() for annotation in part.annotations]
    assert all(0 < place["index"] <= len(part.text) for place in places)
    return [SOURCES[place["filename"]][place["start"] : place["end"]] for place in places]


def test_an_answer_reads_the_documents_and_cites_the_place_in_its_source_whole_and_streamed(house: House) -> None:
    asked: Any = {"model": BASE, "input": QUESTION, "temperature": 0}
    blind = house.client.responses.create(**asked, max_output_tokens=16)
    assert "drum" not in blind.output_text, "only the documents know"
    answer = house.client.responses.create(**asked, tools=[house.tool])
    assert "drum" in answer.output_text
    (source, *_) = cited(answer)
    assert source.startswith("Error E4711 means that the drum does not turn")
    with house.client.responses.stream(**asked, tools=[house.tool]) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        streamed = events.get_final_response()
    assert len(pieces) > 1, "it comes as it is made"
    assert "".join(pieces) == streamed.output_text == answer.output_text
    assert cited(streamed) == cited(answer)


def test_a_person_at_a_terminal_asks_with_a_store_and_sees_the_sources(house: House) -> None:
    said = house.served.graft("chat", "--question", QUESTION, "--store", "handbook", "--passages", "1", "--max-tokens", "24")
    assert "drum" in said.stdout
    assert re.search(r"\[1\] lathe\.md, characters \d+-\d+, score 0\.\d+", said.stderr)
    refused = house.served.graft("chat", "--question", QUESTION, "--store", "nowhere", check=False)
    assert refused.returncode == 1
    assert "`graft stores ls`" in refused.stderr


def test_a_stored_prompt_answers_in_chats_and_responses_as_its_messages_do(house: House, tmp_path: Path) -> None:
    (tmp_path / "desk.prompt.yml").write_text(PROMPT)
    house.served.graft("prompts", "add", str(tmp_path / "desk.prompt.yml"))
    messages: Any = [
        {"role": "system", "content": "Answer with one word."}, {"role": "user", "content": "What is the capital of France?"}
    ]  # fmt: skip
    chat = house.client.chat.completions.create
    by_hand = chat(model=BASE, messages=messages, temperature=0, max_tokens=24)
    assert "Paris" in str(by_hand.choices[0].message.content)
    prompt: Any = {"id": "desk", "version": "1", "variables": {"thing": "France"}}
    named = chat(model=openai.omit, messages=[], extra_body={"prompt": prompt})  # type: ignore[call-overload]
    answer = house.client.responses.create(prompt=prompt)
    assert named.choices[0].message.content == answer.output_text == by_hand.choices[0].message.content
    assert named.model == answer.model == BASE, "the prompt says which model"


NOTES = 12


def note(n: int) -> str:
    """Ten passages or so; its first and its last words are no other note's."""
    shelves = (
        f"Shelf {n}-{m} holds spare parts: " + ", ".join(f"bolt {n * m + k} of size {k}" for k in range(12)) + "."
        for m in range(24)
    )
    return "\n\n".join((f"head{n}x begins this note.", *shelves, f"This note ends with tail{n}x."))


def done(client: OpenAI, store: str) -> set[str]:
    ids = [file.id for file in client.vector_stores.files.list(store, filter="completed", limit=100)]
    return {client.files.retrieve(file_id).filename for file_id in ids}


def found(client: OpenAI, store: str) -> dict[str, int]:
    """Every note of which a search finds anything, and how many passages with its first or its last words."""
    ends: dict[str, int] = {}
    for n in range(NOTES):
        for word in (f"head{n}x", f"tail{n}x"):
            for hit in client.vector_stores.search(store, query=word, max_num_results=3).data:
                ends[hit.filename] = ends.get(hit.filename, 0) + (word in hit.content[0].text)
    return ends


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        threading.Event().wait(0.05)  # files and rows of another process: there is nothing to wait on


def test_a_kill_in_the_middle_of_an_ingest_loses_nothing_and_shows_nothing_by_halves(house: House) -> None:
    served, client = house.served, house.client
    store = client.vector_stores.create(name="notes").id
    client.vector_stores.files.create_and_poll(house.upload("0.txt", note(0)), vector_store_id=store)
    ids = [house.upload(f"{n}.txt", note(n)) for n in range(1, NOTES)]
    batch = client.vector_stores.file_batches.create(store, file_ids=ids).id
    prepared = served.home / "stores" / store / "prepared"

    until(lambda: len(list(prepared.glob("[!.]*"))) >= 3)
    for encoder in processes_matching("gateway.retrieval.child", served.process.pid):
        os.kill(encoder, signal.SIGKILL)
    until(lambda: len(list(prepared.glob("[!.]*"))) >= 6)  # with another encoder
    gateway = next(pid for pid in children_of(served.process.pid) if "granian" in command_of(pid))
    below = children_of(gateway)
    os.kill(gateway, signal.SIGKILL)
    wait_gone(gateway, *below)  # the engine and the encoder too, which nobody told
    served.wait_ready("/health/live")

    before, seen, after = done(client, store), found(client, store), done(client, store)
    assert len(before) < NOTES, "it was killed in the middle"
    whole = {name for name, ends in seen.items() if ends == 2}
    assert {"0.txt"} <= before <= whole, "what is done is found, from its head to its tail"
    assert seen.keys() <= after, "and nothing else is found"
    until(lambda: client.vector_stores.file_batches.retrieve(batch, vector_store_id=store).status != "in_progress")
    assert found(client, store) == {f"{n}.txt": 2 for n in range(NOTES)}
