"""Soft prompts on a real vLLM: trained on SmolLM2, published, proven in chat, and served beside LoRA on the same engine."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from adapters import embedded
from adapters.adapted_model import AdaptedModel, AdapterRef, Sampling
from adapters.bases import open_model, open_tokenizer
from adapters.conversation import wire
from adapters.data.dataset import open_dataset
from adapters.errors import Unproven
from adapters.evaluation import probe as probes
from adapters.evaluation.completer import LocalCompleter
from adapters.methods.contract import Ground, Watched
from adapters.methods.lora import Lora
from adapters.methods.prompt_tuning import PromptTuning, payload_of
from adapters.prompts import PromptTemplate, render
from adapters.registry import Registry
from adapters.soft_slot import read_slot
from adapters.tuning import device
from adapters.tuning.progress import Progress
from adapters.tuning.recipe import Recipe
from adapters.tuning.trainer import train
from gateway import settings as settings_table
from gateway.cli.tour import EXAMPLE
from gateway.db.database import open_database
from gateway.db.names import Names
from gateway.engines.client import EngineClient
from gateway.engines.holdings import Cargo, Holdings
from gateway.engines.sockets import socket_path
from tests import tiny as small
from tests.flows.serving import Served, serving

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

BASE, NAME = "smollm2", "soft-bot"
RECIPE = Recipe("prompt_tuning", virtual_tokens=8, epochs=3, learning_rate=0.03, batch_size=8, max_length=128)
METHOD = PromptTuning()
TEMPLATE = PromptTemplate("Name the queue.")
EXAMPLES = open_dataset(EXAMPLE).examples[:48]
HI: Any = [{"role": "user", "content": "Hello!"}]


@dataclass(frozen=True)
class Made:
    folder: Path
    ref: AdapterRef
    probe: probes.Probe
    answers: list[str]
    """The trainer's own, greedy, to the first rows."""


def ground_on(base: Path) -> Ground:
    return Ground(RECIPE, base, BASE, open_tokenizer(base), TEMPLATE, EXAMPLES)


@pytest.fixture(scope="module")
def base() -> Path:
    return embedded.prepare(BASE, settings_table.load().storage_cache)


@pytest.fixture(scope="module")
def made(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    ground, folder = ground_on(base), tmp_path_factory.mktemp("soft")
    model = METHOD.prepare(open_model(base, device.dtype()), ground)
    rows = METHOD.rows(ground, EXAMPLES)
    progress = Progress(tmp_path_factory.mktemp("run"))
    train(model, rows[:40], rows[40:], RECIPE, progress, rate=METHOD.rate)
    progress.close()
    ref = METHOD.save(model, folder, ground)
    opened, asked = METHOD.open(folder, ground), METHOD.asked(ground)
    completer = LocalCompleter(opened, asked.tokenizer, max_new_tokens=6)
    answers = completer([render(asked.template, wire(example.prompt)) for example in EXAMPLES[:12]])
    return Made(folder, ref, METHOD.probe(opened, ground, Watched(EXAMPLES, ()), lambda: None), answers)


@pytest.fixture(scope="module")
def served(made: Made, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("graft")
    registry = Registry(home / "models")
    names = Names(open_database(f"sqlite:///{home / 'graft.db'}"), registry)
    soft = AdaptedModel(NAME, 0, BASE, made.ref, TEMPLATE, sampling=Sampling(temperature=0.0))
    published = registry.publish(registry.add(soft, made.folder, probes.to_json(made.probe)))
    names.promote(NAME, published.version)
    lora = tmp_path_factory.mktemp("lora")
    where = small.ground(base, Recipe("lora", rank=4, alpha=8), name=BASE)
    ref = Lora().save(Lora().prepare(open_model(base, torch.bfloat16), where), lora, where)
    published = registry.publish(registry.add(AdaptedModel("lora-bot", 0, BASE, ref), lora))
    names.promote("lora-bot", published.version)
    with serving(home, GRAFT_ENGINE_MAX_MODEL_LEN="512") as served:
        yield served


def ask(served: Served, model: str, messages: Any, **more: Any) -> Any:
    return served.client.chat.completions.create(model=model, messages=messages, max_tokens=6, **more)


def test_its_answers_are_the_trainers_and_not_the_bases(served: Served, made: Made) -> None:
    asked = [wire(example.prompt) for example in EXAMPLES[:12]]
    answers = [ask(served, NAME, messages).choices[0].message.content.strip() for messages in asked]
    # bf16 kernels differ between trainer and engine: a near tie may fall the other way on a row or two
    assert sum(got == wanted for got, wanted in zip(answers, made.answers, strict=True)) >= 10
    prompted = [[{"role": "system", "content": "Name the queue."}, *messages] for messages in asked]
    plain = [ask(served, BASE, messages, temperature=0).choices[0].message.content.strip() for messages in prompted]
    assert sum(got != other for got, other in zip(answers, plain, strict=True)) >= 6


def test_it_streams_counts_its_tokens_and_answers_under_its_own_name(served: Served) -> None:
    whole = ask(served, NAME, HI)
    assert whole.model == NAME
    plain = ask(served, BASE, [{"role": "system", "content": "Name the queue."}, *HI])
    assert whole.usage.prompt_tokens >= plain.usage.prompt_tokens + RECIPE.virtual_tokens
    chunks = list(ask(served, NAME, HI, stream=True, stream_options={"include_usage": True}))
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    )
    assert chunks[-1].usage == whole.usage
    assert {chunk.model for chunk in chunks} == {NAME}


def test_base_lora_and_soft_prompt_share_an_engine(served: Served) -> None:
    async def scene() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0, timeout=120)
        asked = (
            client.chat.completions.create(
                model=("lora-bot", NAME, BASE)[number % 3], temperature=0, max_tokens=24,
                messages=[{"role": "user", "content": f"Tell me about the number {number}."}],
            )
            for number in range(18)
        )  # fmt: skip
        return await asyncio.gather(*asked)

    answers = asyncio.run(scene())
    assert all(answer.choices[0].message.content for answer in answers)
    assert "EngineCore encountered" not in (served.home / "logs" / f"engine-{BASE}-0.log").read_text()


def test_embeddings_are_not_taken_from_callers_and_a_plain_completion_has_no_slot(served: Served, made: Made) -> None:
    payload = read_slot(made.folder, BASE, None).payload
    part = {"type": "prompt_embeds", "data": payload}
    for model in (BASE, NAME):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(served, model, [{"role": "user", "content": [part]}])
        assert caught.value.param == "messages[0].content[0].type"
        with pytest.raises(openai.BadRequestError) as caught:
            served.client.completions.create(model=model, prompt="hi", extra_body={"prompt_embeds": payload})
        assert caught.value.param == "prompt_embeds"
        with pytest.raises(openai.BadRequestError, match="prompt_embeds"):
            ask(served, model, [{"role": "user", "content": "say <prompt_embeds>"}])
    with pytest.raises(openai.BadRequestError) as caught:
        served.client.completions.create(model=NAME, prompt="hi")
    assert caught.value.code == "unsupported_endpoint"


@dataclass(frozen=True)
class Deaf:
    """A slot that puts nothing into it: the base answers."""

    base: str
    template: PromptTemplate

    def around(self, messages: Any) -> Any:
        return render(self.template, messages)


def test_the_proof_tells_it_from_the_base_and_from_another_soft_prompt(served: Served, made: Made, base: Path) -> None:
    ground = ground_on(base)
    slot = read_slot(made.folder, BASE, ground.template)
    prove(served, made, slot)
    untrained: Any = METHOD.prepare(open_model(base, device.dtype()), ground)
    with pytest.raises(Unproven):
        prove(served, made, dataclasses.replace(slot, payload=payload_of(untrained.embeddings.detach().to(device.dtype()))))
    with pytest.raises(Unproven, match="as the base does"):
        prove(served, made, Deaf(BASE, TEMPLATE))


def prove(served: Served, made: Made, slot: Any) -> None:
    settings = settings_table.load(environment={"GRAFT_STORAGE_HOME": str(served.home)})

    class Running:
        generation = 1

    async def proven() -> None:
        client = EngineClient(BASE, socket_path(settings, f"{BASE}-0"))
        holdings = Holdings(Running(), client, room=1, in_use=lambda name: False, turn=asyncio.Lock())  # type: ignore[arg-type]
        try:
            await holdings.prove(Cargo("some--soft", made.folder, made.probe, is_adapter=False, slot=slot))
        finally:
            await client.close()

    asyncio.run(proven())
