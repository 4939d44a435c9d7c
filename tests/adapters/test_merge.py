"""A merged model answers as the adapter on its base does, and is a whole model folder or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adapters.__main__ import main
from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.bases import open_model, open_tokenizer
from adapters.data.tokens import prompt_ids
from adapters.errors import Conflict, Unservable
from adapters.methods.lora import Lora
from adapters.registry import CHECKPOINT_WEIGHTS, WEIGHTS, Registry, file_digest
from adapters.tuning.adapted import open_adapted
from adapters.tuning.merge import merge
from adapters.tuning.recipe import Recipe
from tests import tiny as small

ASKED = [{"role": "user", "content": "my parcel and my refund"}]


@pytest.fixture
def adapter(tmp_path: Path, tiny: Path) -> Path:
    where = small.ground(tiny, Recipe("lora", rank=4, alpha=8))
    model = Lora().prepare(open_model(tiny, torch.bfloat16), where)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    (tmp_path / "adapter").mkdir()
    Lora().save(model, tmp_path / "adapter", where)
    return tmp_path / "adapter"


def logits(model, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].float()


def test_merged_logits_are_the_adapters_within_bf16_rounding_and_not_the_bases(
    tmp_path: Path, tiny: Path, adapter: Path
) -> None:
    ref = merge(tiny, adapter, tmp_path / "merged")
    assert ref == AdapterRef("checkpoint", file_digest(tmp_path / "merged" / CHECKPOINT_WEIGHTS))
    ids = prompt_ids(open_tokenizer(tiny), ASKED)
    merged = open_model(tmp_path / "merged", torch.float32)
    unmerged = open_adapted(tiny, adapter, torch.float32)
    # bf16 keeps 8 bits: each merged weight is off by at most 2^-9 of itself
    difference = (logits(merged, ids) - logits(unmerged, ids)).pow(2).mean().sqrt()
    moved = (logits(open_model(tiny, torch.float32), ids) - logits(unmerged, ids)).pow(2).mean().sqrt()
    assert difference < 0.01 * moved


def test_a_merged_folder_is_bf16_and_has_the_bases_own_tokenizer_and_chat_template(
    tmp_path: Path, tiny: Path, adapter: Path
) -> None:
    merge(tiny, adapter, tmp_path / "merged")
    assert prompt_ids(open_tokenizer(tmp_path / "merged"), ASKED) == prompt_ids(open_tokenizer(tiny), ASKED)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (tiny / file).read_bytes()
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
    assert not list(tmp_path.glob(".merged-*"))


def test_the_registry_takes_a_merged_model(tmp_path: Path, tiny: Path, adapter: Path, capsys) -> None:
    out = tmp_path / "merged"
    assert main(["merge", "--base-folder", str(tiny), "--adapter", str(adapter), "--out", str(out)]) == 0
    ref = AdapterRef(**json.loads(capsys.readouterr().out))
    registry = Registry(tmp_path / "models")
    draft = registry.publish(registry.add(AdaptedModel("bot", 0, "tiny", ref), out))
    assert open_model(registry.adapter_folder(draft), torch.bfloat16).config.num_hidden_layers == 2


def test_what_cannot_be_merged_leaves_nothing(tmp_path: Path, tiny: Path, adapter: Path) -> None:
    with pytest.raises(Conflict, match="exists"):
        merge(tiny, adapter, tiny)
    (adapter / WEIGHTS).write_bytes(b"torn")
    with pytest.raises(Unservable):
        merge(tiny, adapter, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_an_adapter_of_a_tied_embedding_is_not_merged(tmp_path: Path, tiny: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(open_model(tiny, torch.bfloat16), LoraConfig(r=2, target_modules=["embed_tokens"]))
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(Unservable, match="one matrix for both"):
        merge(tiny, tmp_path / "adapter", tmp_path / "merged")
