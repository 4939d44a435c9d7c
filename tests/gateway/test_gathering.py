"""What is gathered for a question before an engine is asked: a prompt, examples that suit it, passages; and what is sent."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.adapted_model import AdaptedModel, RetrievalSpec, Sampling
from adapters.errors import GraftError, InvalidInput, NotFound, Unservable
from adapters.prompting.pool import open_pool, pool_digest, write_pool
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import PromptTemplate, Selection, Shot
from adapters.registry import Registry
from adapters.retrieval.filters import matches, parse_filter
from adapters.retrieval.fusion import LEXICAL_WEIGHT
from gateway.serving.compose import CHAT, Route, compose, read
from gateway.serving.gather import Gatherer, joined, needs_gathering, search_for
from gateway.serving.gathered import Gathered
from gateway.stores.searching import Hit
from gateway.telemetry import Telemetry
from gateway.wire.context import Wish

PLAIN = AdaptedModel("tiny", 0, "tiny")
SHOTS = (Shot("the red apple", "fruit"), Shot("a green pear", "fruit"), Shot("an old oak", "tree"), Shot("a tall fir", "tree"))
TEXTS = {
    "oaks.md": ("Oaks live for some hundred years.", {"year": 2020}),
    "pears.md": ("Pears ripen in autumn.", {"year": 2024}),
}


class Words:
    """Stores in memory, searched by the share of the question's words that a document holds; and the real selectors."""

    has_reranker = False

    async def search(
        self, store_id: str, queries: Sequence[str], *, limit: int, filters: Any, lexical_weight: float, min_score: float,
        rerank: bool,
    ) -> list[list[Hit]]:  # fmt: skip
        if store_id != "garden":
            raise NotFound(f"there is no vector store '{store_id}'", param="vector_store_id")
        wanted = parse_filter(filters) if filters is not None else None
        hits = [
            Hit(f"file-{name}", name, about, SimpleNamespace(start=0, end=len(text), heading="", text=text, score=score))
            for name, (text, about) in TEXTS.items()
            if (score := share(queries[0], text)) > min_score and (wanted is None or matches(wanted, about))
        ]
        return [sorted(hits, key=lambda hit: -hit.found.score)[:limit]]

    async def choose(self, pool: Path, question: str, selection: Selection) -> list[Shot]:
        return choose(open_pool(pool), selection, question)

    async def resolve(self, reference: dict[str, Any]) -> Any:
        messages = [
            {"role": "system", "content": "You know trees."},
            {"role": "user", "content": f"What of {reference['id']}?"},
        ]
        return SimpleNamespace(messages=messages, defaults={"temperature": 0.5})


def share(question: str, text: str) -> float:
    words, held = question.lower().split(), text.lower().replace(".", "").split()
    return sum(word in held for word in words) / len(words)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def gathered(registry: Registry, model: AdaptedModel, content: str = "how many years do oaks live", **more: Any) -> Gathered:
    ask = read(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]} | more).encode())
    assert needs_gathering(ask, model)
    parts = Words()
    return asyncio.run(Gatherer(registry, parts, parts, parts, Telemetry()).gather(ask, model))


def sent(model: AdaptedModel, found: Gathered | None = None, **more: Any) -> dict[str, Any]:
    ask = read(json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | more).encode())
    body: dict[str, Any] = json.loads(compose(ask, model, CHAT, None, found))
    return body


def choosing(registry: Registry, tmp_path: Path, k: int = 2) -> AdaptedModel:
    write_pool(tmp_path / "pool", SHOTS)
    template = PromptTemplate(
        "Name it.", (Shot("a rose", "flower"),), Selection("bm25", k, pool_digest(SHOTS)), before="Thing: ", after="\nKind:"
    )
    draft = AdaptedModel("kinds", 0, "tiny", prompt=template, sampling=Sampling(choices=("fruit", "tree", "flower")))
    return registry.publish(registry.add(draft, pool=tmp_path / "pool"))


def test_examples_are_chosen_for_each_question_and_the_most_suitable_stands_nearest_to_it(
    registry: Registry, tmp_path: Path
) -> None:
    model = choosing(registry, tmp_path)
    found = gathered(registry, model, "the green pear on a tree")
    assert found.chosen[-1] == Shot("a green pear", "fruit")
    said = sent(model, found)["messages"]
    assert [m["content"] for m in said[:3]] == ["Name it.", "Thing: a rose\nKind:", "flower"], "what is always the same first"
    assert said[-3:] == [
        {"role": "user", "content": "Thing: a green pear\nKind:"},
        {"role": "assistant", "content": "fruit"},
        {"role": "user", "content": "Thing: the green pear on a tree\nKind:"},
    ]


def test_the_asked_row_itself_is_never_among_the_examples(registry: Registry, tmp_path: Path) -> None:
    found = gathered(registry, choosing(registry, tmp_path, k=9), "A Green  pear")
    assert Shot("a green pear", "fruit") not in found.chosen
    assert len(found.chosen) == len(SHOTS) - 1


def test_a_pool_that_is_damaged_is_the_models_fault_and_shows_no_path(registry: Registry, tmp_path: Path) -> None:
    model = choosing(registry, tmp_path)
    (folder,) = registry.root.glob("kinds/*/pool")
    (folder / "card.json").unlink()
    with pytest.raises(Unservable, match="'kinds' cannot choose its examples") as caught:
        gathered(registry, model)
    assert str(tmp_path) not in caught.value.message


def test_only_answers_that_there_are_can_be_given_unless_the_caller_says_what_an_answer_looks_like() -> None:
    model = dataclasses.replace(PLAIN, sampling=Sampling(choices=("yes", "no")))
    assert sent(model)["structured_outputs"] == {"choice": ["yes", "no"]}
    assert sent(model, response_format={"type": "text"})["structured_outputs"] == {"choice": ["yes", "no"]}
    for shaped in (
        {"response_format": {"type": "json_object"}},
        {"guided_regex": "a+"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ):
        assert "structured_outputs" not in sent(model, **shaped)
    assert sent(model, structured_outputs={"regex": "a+"})["structured_outputs"] == {"regex": "a+"}
    assert "structured_outputs" not in sent(PLAIN)


def test_passages_stand_before_the_question_and_the_header_says_where_they_are_from(registry: Registry) -> None:
    model = dataclasses.replace(PLAIN, retrieval=RetrievalSpec("garden", passages=1))
    found = gathered(registry, model)
    assert found.passages is not None
    assert [passage.filename for passage in found.passages] == ["oaks.md"]
    (message,) = sent(model, found)["messages"]
    assert message["content"].index("some hundred years") < message["content"].index("how many years")
    assert found.header == {"x-graft-passages": "file-oaks.md:0-33:0.500"}


def test_the_requests_store_goes_before_the_models_and_brings_its_own_values() -> None:
    own = RetrievalSpec("garden", passages=7, lexical_weight=0.9, min_score=0.4, when_nothing="refuse")
    model = dataclasses.replace(PLAIN, retrieval=own)
    search = search_for(Wish(("elsewhere",), 2), model)
    assert search is not None
    assert search.stores == ("elsewhere",)
    assert (search.spec.passages, search.spec.lexical_weight, search.spec.min_score) == (2, LEXICAL_WEIGHT, 0.0)
    assert search.spec.when_nothing == "refuse", "what the model does without documents is not the caller's to say"
    narrowed = search_for(Wish(passages=2), model)
    assert narrowed is not None
    assert (narrowed.stores, narrowed.spec) == (("garden",), dataclasses.replace(own, passages=2))
    assert search_for(None, PLAIN) is None
    with pytest.raises(InvalidInput, match="no documents of its own"):
        search_for(Wish(passages=2), PLAIN)


@pytest.mark.parametrize(("when_nothing", "is_silent"), [("tell", False), ("refuse", True)])
def test_where_nothing_is_found_the_model_is_told_or_says_nothing(
    registry: Registry, when_nothing: str, is_silent: bool
) -> None:
    model = dataclasses.replace(PLAIN, retrieval=RetrievalSpec("garden", min_score=0.9, when_nothing=when_nothing))
    found = gathered(registry, model)
    assert (found.passages, found.is_silent) == ((), is_silent)
    assert found.header == {"x-graft-passages": ""}
    (message,) = found.messages
    assert message["content"].startswith("No document was found")


def test_of_several_stores_the_best_passages_are_taken(registry: Registry) -> None:
    ask = read(b'{"model": "m", "messages": [{"role": "user", "content": "how many years do oaks live"}]}')
    ask = dataclasses.replace(ask, wish=Wish(("garden", "garden"), 3, field="tools[0].vector_store_ids"))
    parts = Words()
    found = asyncio.run(Gatherer(registry, parts, parts, parts, Telemetry()).gather(ask, PLAIN))
    assert found.passages is not None
    scores = [passage.score for passage in found.passages]
    assert scores == sorted(scores, reverse=True)
    assert len({(passage.file_id, passage.start) for passage in found.passages}) == len(scores), "none is shown twice"


@pytest.mark.parametrize(
    ("graft", "model", "kind", "param", "says"),
    [
        ({"store": "gone"}, PLAIN, NotFound, "graft.store", "there is no vector store 'gone'"),
        (
            None,
            dataclasses.replace(PLAIN, name="bot", retrieval=RetrievalSpec("gone")),
            NotFound,
            "model",
            "'bot' answers from",
        ),
        ({"passages": 0}, PLAIN, InvalidInput, "graft.passages", "1"),
        ({"store": ""}, PLAIN, InvalidInput, "graft.store", "empty"),
        ({"shop": "x"}, PLAIN, InvalidInput, "graft.shop", "unknown field"),
        ({"passages": 3}, PLAIN, InvalidInput, "graft.store", "no documents of its own"),
    ],
)
def test_a_search_that_cannot_be_made_names_the_field(
    registry: Registry, graft: dict[str, Any] | None, model: AdaptedModel, kind: type[GraftError], param: str, says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        gathered(registry, model, **({"graft": graft} if graft is not None else {}))
    assert caught.value.param == param


def test_a_named_prompt_comes_before_the_callers_messages_and_its_values_below_the_callers(registry: Registry) -> None:
    model = dataclasses.replace(PLAIN, prompt=PromptTemplate("Be brief."), sampling=Sampling(temperature=0.1, max_tokens=9))
    more: dict[str, Any] = {"prompt": {"id": "oaks"}}
    found = gathered(registry, model, "in one word?", **more)
    body = sent(model, found, **more)
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("system", "Be brief.\n\nYou know trees."), ("user", "What of oaks?"), ("user", "in one word?"),
    ]  # fmt: skip
    assert (body["temperature"], body["max_tokens"]) == (0.5, 9)
    assert "prompt" not in body
    assert sent(model, found, temperature=0.7, **more)["temperature"] == 0.7


def test_what_is_said_beforehand_is_one_system_message() -> None:
    system, user = {"role": "system", "content": "a"}, {"role": "user", "content": "b"}
    assert joined([system, user], [{"role": "developer", "content": "c"}, user]) == [
        {"role": "system", "content": "a\n\nc"}, user, user,
    ]  # fmt: skip
    assert joined([user], [system]) == [system, user]
    assert joined([user], []) == [user]


def test_models_and_questions_that_need_nothing_pass_by() -> None:
    ask = read(b'{"model": "m", "graft": null, "prompt": null, "messages": [  {"role":"user","content":"\\u00e9"}]}')
    prompted = dataclasses.replace(PLAIN, prompt=PromptTemplate("Be brief.", SHOTS))
    assert not needs_gathering(ask, PLAIN)
    assert not needs_gathering(ask, prompted)
    assert b'[  {"role":"user","content":"\\u00e9"}]' in compose(ask, PLAIN, CHAT), "the caller's bytes"


@pytest.mark.parametrize(
    ("model", "more"),
    [(dataclasses.replace(PLAIN, retrieval=RetrievalSpec("garden")), {}), (PLAIN, {"graft": {"store": "garden"}})],
)
def test_a_plain_completion_has_no_place_for_passages(model: AdaptedModel, more: dict[str, Any]) -> None:
    route: Route = "/v1/completions"
    with pytest.raises(InvalidInput, match=CHAT) as caught:
        compose(read(json.dumps({"model": "m", "prompt": "hi"} | more).encode(), route), model, route)
    assert caught.value.code == "unsupported_endpoint"
