"""Adapters the engine would refuse, or load and not apply, are stopped by their files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.bases import facts
from adapters.errors import Unservable
from adapters.registry import WEIGHTS
from adapters.tuning.check import CONFIG, check_adapter

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A good adapter for the tiny base: rank 4 on one layer."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    (folder / CONFIG).write_text(json.dumps(config))
    write(folder, {f"{MODULE}.lora_A.weight": ones(4, 64), f"{MODULE}.lora_B.weight": ones(64, 4)})
    return folder


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


def write(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    save_file(tensors, folder / WEIGHTS)


def test_a_good_adapter_passes(adapter: Path, tiny: Path) -> None:
    check_adapter(adapter, facts(tiny), max_rank=4)


CONFIGS: dict[str, dict[str, Any]] = {
    "adapter_not_lora": {"peft_type": "IA3"},
    "adapter_unreadable": {"r": "many"},
    "adapter_uses_dora": {"use_dora": True},
    "adapter_has_bias": {"bias": "all"},
    "adapter_replaces_modules": {"modules_to_save": ["lm_head"]},
    "adapter_trains_tokens": {"trainable_token_indices": [1, 2]},
    "adapter_changes_base": {"init_lora_weights": "pissa_niter_4"},
    "adapter_rank_too_high": {"rank_pattern": {"q_proj": 128}},
}


@pytest.mark.parametrize("code", CONFIGS)
def test_a_config_the_engine_cannot_serve_is_refused_by_code(adapter: Path, tiny: Path, code: str) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | CONFIGS[code]))
    with pytest.raises(Unservable) as error:
        check_adapter(adapter, facts(tiny), max_rank=64)
    assert error.value.code == code


A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"
WEIGHTS_WRONG: dict[str, dict[str, np.ndarray]] = {
    "adapter_does_nothing": {A: ones(4, 64), B: ones(64, 4) * 0},
    "adapter_not_finite": {A: ones(4, 64) * np.nan, B: ones(64, 4)},
    "adapter_incomplete": {A: ones(4, 64)},
    "adapter_wrong_base": {A: ones(4, 32), B: ones(64, 4)},
    "adapter_wrong_shape": {A: ones(3, 64), B: ones(64, 4)},
    "adapter_foreign_tensor": {A: ones(4, 64), B: ones(64, 4), "base_model.model.lm_head.weight": ones(2, 2)},
    "adapter_empty": {},
}


@pytest.mark.parametrize("code", WEIGHTS_WRONG)
def test_weights_that_would_not_do_what_was_trained_are_refused_by_code(adapter: Path, tiny: Path, code: str) -> None:
    write(adapter, WEIGHTS_WRONG[code])
    with pytest.raises(Unservable) as error:
        check_adapter(adapter, facts(tiny), max_rank=64)
    assert error.value.code == code


def test_a_layer_the_base_lacks_means_another_base(adapter: Path, tiny: Path) -> None:
    moved = {name.replace("layers.0", "layers.9"): tensor for name, tensor in load_file(adapter / WEIGHTS).items()}
    write(adapter, moved)
    with pytest.raises(Unservable, match="beyond the base's 2 layers"):
        check_adapter(adapter, facts(tiny), max_rank=64)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_torn_or_missing_weights_are_refused(adapter: Path, tiny: Path, content: bytes | None) -> None:
    (adapter / WEIGHTS).unlink()
    if content is not None:
        (adapter / WEIGHTS).write_bytes(content)
    with pytest.raises(Unservable) as error:
        check_adapter(adapter, facts(tiny), max_rank=64)
    assert error.value.code == "adapter_unreadable"
