"""A soft prompt at the gateway: put into every question, asked of the base, taken from nobody else."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from adapters.adapted_model import ADAPTER_KINDS, AdaptedModel, AdapterRef
from adapters.prompts import PromptTemplate, Shot
from adapters.registry import file_digest
from adapters.soft_slot import CONFIG, PAYLOAD
from tests.gateway.conftest import BASE, Gateway, Home, gateway_on

HI: Any = [{"role": "user", "content": "hi"}]
EMBEDDINGS = {"type": "prompt_embeds", "data": "c29mdA=="}


def soft_folder(folder: Path, *, payload: str | None = "c29mdA==") -> tuple[Path, AdapterRef]:
    """The files of a soft prompt as far as a gateway looks at them."""
    folder.mkdir(parents=True)
    header = json.dumps({"embeddings": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    weights = folder / ADAPTER_KINDS["soft_prompt"]
    weights.write_bytes(struct.pack("<Q", len(header)) + header + b"x")
    (folder / CONFIG).write_text(json.dumps({"format": 1, "slot": "system_start", "separator": "\n", "tokens": 4}))
    if payload is not None:
        (folder / PAYLOAD).write_text(payload)
    return folder, AdapterRef("soft_prompt", file_digest(weights))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("soft")
    (root / "home").mkdir()
    home = Home(root / "home", root / "made")
    for name, prompt, payload in (
        ("soft", None, "c29mdA=="),
        ("soft-prompted", PromptTemplate("Be brief.", (Shot("2+2?", "4"),)), "c29mdA=="),
        ("torn", None, None),
    ):
        files, ref = soft_folder(root / "made" / name, payload=payload)
        published = home.registry.publish(home.registry.add(AdaptedModel(name, 0, BASE, ref, prompt), files))
        home.names.promote(name, published.version)
    home.publish("clipped", seed=1)
    with gateway_on(home) as gateway:
        yield gateway


def test_it_stands_in_the_system_message_and_the_base_is_asked(gateway: Gateway) -> None:
    answer = gateway.openai().chat.completions.create(model="soft", messages=HI)
    sent = json.loads(gateway.stub()["last_body"])
    assert sent["model"] == BASE
    assert sent["messages"] == [{"role": "system", "content": [EMBEDDINGS]}, *HI]
    assert answer.model == "soft"


def test_the_models_own_and_the_callers_system_text_follow_it(gateway: Gateway) -> None:
    own: Any = {"role": "system", "content": "Ours."}
    gateway.openai().chat.completions.create(model="soft-prompted", messages=[own, *HI])
    said = json.loads(gateway.stub()["last_body"])["messages"]
    assert said[0]["content"] == [EMBEDDINGS, {"type": "text", "text": "Be brief.\n\nOurs."}]
    assert [message["content"] for message in said[1:]] == ["2+2?", "4", "hi"]


def test_a_stream_carries_the_name_it_was_asked_by(gateway: Gateway) -> None:
    chunks = list(gateway.openai().chat.completions.create(model="soft", messages=HI, stream=True))
    assert {chunk.model for chunk in chunks} == {"soft"}


def test_it_takes_no_adapters_place_in_the_engine(gateway: Gateway) -> None:
    gateway.openai().chat.completions.create(model="clipped", messages=HI)
    held = gateway.stub()["in_memory"]
    gateway.openai().chat.completions.create(model="soft", messages=HI)
    assert gateway.stub()["in_memory"] == held


@pytest.mark.parametrize("model", [BASE, "clipped", "soft"])
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_a_callers_own_embeddings_are_refused_by_name(gateway: Gateway, model: str, role: str) -> None:
    with pytest.raises(openai.BadRequestError, match="prompt_embeds") as part:
        gateway.openai().post(
            "/chat/completions",
            cast_to=object,
            body={"model": model, "messages": [*HI, {"role": role, "content": [EMBEDDINGS]}]},
        )
    assert part.value.param == "messages[1].content[0].type"
    with pytest.raises(openai.BadRequestError) as field:
        gateway.openai().completions.create(model=model, prompt="hi", extra_body={"prompt_embeds": "c29mdA=="})
    assert field.value.param == "prompt_embeds"


def test_a_plain_completion_has_no_place_for_it(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="stands in the system message") as caught:
        gateway.openai().completions.create(model="soft", prompt="hi")
    assert caught.value.code == "unsupported_endpoint"


def test_one_whose_files_are_not_whole_is_unservable(gateway: Gateway) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=PAYLOAD):
        gateway.openai().chat.completions.create(model="torn", messages=HI)


@pytest.mark.parametrize(
    ("config", "modules", "expected"),
    [
        ({}, ("q_proj", "down_proj"), ("--enable-prompt-embeds", "--lora-target-modules", "down_proj", "q_proj")),
        ({"vision_config": {}}, ("q_proj",), ()),
        ({}, ("q_proj", "experts.0.w1"), ()),
        ({}, (), ()),
    ],
    ids=["a plain decoder", "towers beside it", "experts", "nothing to read"],
)
def test_engines_take_soft_prompts_beside_lora_where_the_embedding_can_be_left_alone(
    config: dict[str, Any], modules: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    from gateway.engines.vllm import _soft_prompts

    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {
        f"model.layers.0.{module}.weight": {"dtype": "U8", "shape": [1, 1], "data_offsets": [0, 1]} for module in modules
    }
    tensors["model.embed_tokens.weight"] = {"dtype": "U8", "shape": [1, 1], "data_offsets": [0, 1]}
    header = json.dumps(tensors).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"x")
    assert _soft_prompts(tmp_path) == expected
