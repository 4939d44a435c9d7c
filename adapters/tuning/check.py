"""Will the engine take this adapter, and serve what was trained? Answered from the files alone, without a GPU.

The rules are those of vLLM's PEFT reader: some features it refuses, others it would load and silently not apply.
Knows no engine process; the probe after loading is the gateway's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.bases import BaseFacts, tensor_header
from adapters.errors import InvalidInput, Unservable
from adapters.registry import WEIGHTS

if TYPE_CHECKING:
    import numpy as np

CONFIG = "adapter_config.json"
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
LAYER = re.compile(r"layers\.(\d+)\.")

REFUSED: dict[str, tuple[str, str]] = {
    "use_dora": ("adapter_uses_dora", "DoRA is not served; train without use_dora"),
    "modules_to_save": ("adapter_replaces_modules", "whole replaced modules are not served; train without modules_to_save"),
    "lora_bias": ("adapter_has_bias", "biases are not served; train with lora_bias false"),
    "layer_replication": ("adapter_replicates_layers", "replicated layers are not served"),
    "trainable_token_indices": (
        "adapter_trains_tokens",
        "trained tokens are not served; put new tokens into a copy of the base",
    ),
    "alora_invocation_tokens": ("adapter_is_activated", "activated LoRA is not served"),
    "use_qalora": ("adapter_is_quantised", "QA-LoRA is not served"),
    "use_bdlora": ("adapter_is_block_diagonal", "block-diagonal LoRA is not served"),
}
"""Fields of adapter_config.json that must not be set: code and sentence."""

REFUSED_INITS = ("pissa", "olora", "corda", "loftq")
"""These change the base's own weights too; PEFT can convert such an adapter to a plain one when it saves it."""


def check_adapter(folder: Path, facts: BaseFacts, max_rank: int) -> None:
    """Raises Unservable, its code saying which rule, its message what to do."""
    config = _config(folder)
    for field, (code, sentence) in REFUSED.items():
        if config.get(field):
            raise Unservable(f"{folder.name}: {sentence}", code=code, param=field)
    if config.get("bias", "none") != "none":
        raise Unservable(f"{folder.name}: biases are not served; train with bias 'none'", code="adapter_has_bias", param="bias")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(REFUSED_INITS):
        raise Unservable(
            f"{folder.name}: initialised by {init}, which changed the base as well; convert it when saving "
            "(path_initial_model_for_weight_conversion)",
            code="adapter_changes_base",
            param="init_lora_weights",
        )
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if rank > max_rank:
        raise Unservable(
            f"{folder.name}: its rank {rank} is above the engine's {max_rank}; raise engine.max_lora_rank or train a lower one",
            code="adapter_rank_too_high",
            param="r",
        )
    _check_weights(folder / WEIGHTS, facts, rank)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise Unservable(f"{folder / CONFIG} cannot be read ({error})", code="adapter_unreadable") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise Unservable(
            f"{folder.name}: only LoRA adapters are served so, not {kind}", code="adapter_not_lora", param="peft_type"
        )
    for field, kinds in (("r", int), ("lora_alpha", (int, float)), ("target_modules", (list, str))):
        if not isinstance(config.get(field), kinds):
            raise Unservable(f"{folder / CONFIG} has no usable '{field}'", code="adapter_unreadable", param=field)
    return config


def _check_weights(file: Path, facts: BaseFacts, rank: int) -> None:
    if not file.is_file():
        raise Unservable(f"{file} is missing; only safetensors are read", code="adapter_unreadable")
    try:
        header = tensor_header(file)
    except InvalidInput as error:
        raise Unservable(error.message, code="adapter_unreadable") from error
    modules: dict[str, dict[str, str]] = {}
    for name in header:
        if (found := TENSOR.fullmatch(name)) is None:
            raise Unservable(f"{file.name} holds '{name}', which is no LoRA matrix", code="adapter_foreign_tensor", param=name)
        modules.setdefault(found["module"], {})[found["side"]] = name
    if not modules:
        raise Unservable(f"{file.name} holds no weights", code="adapter_empty")
    for module, sides in modules.items():
        if len(sides) != 2:
            raise Unservable(
                f"{file.name}: '{module}' has only one of its two matrices", code="adapter_incomplete", param=module
            )
        shapes = {side: header[name]["shape"] for side, name in sides.items()}
        _check_shapes(module, shapes["A"], shapes["B"], facts, rank)
    moved = False
    for sides in modules.values():
        for side, name in sides.items():
            values = _values(file, header[name])
            if not _finite(values):
                raise Unservable(
                    f"{file.name}: '{name}' holds values that are no numbers", code="adapter_not_finite", param=name
                )
            moved = moved or (side == "B" and bool(values.any()))
    if not moved:
        raise Unservable(
            f"{file.name}: every lora_B is zero, so it would answer exactly as the base does; was it trained at all?",
            code="adapter_does_nothing",
        )


def _check_shapes(module: str, a: list[int], b: list[int], facts: BaseFacts, rank: int) -> None:
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or a[0] > rank:
        raise Unservable(
            f"'{module}' has matrices of {a} and {b}, not of rank {rank}", code="adapter_wrong_shape", param=module
        )
    layer = LAYER.search(module)
    if layer is not None and int(layer[1]) >= facts.layers:
        raise Unservable(
            f"'{module}' is beyond the base's {facts.layers} layers: made for another base",
            code="adapter_wrong_base",
            param=module,
        )
    wanted = _linear_sizes(facts).get(module.rsplit(".", 1)[-1])
    if wanted is not None and (a[1], b[0]) != wanted:
        raise Unservable(
            f"'{module}' goes from {a[1]} to {b[0]}, the base's from {wanted[0]} to {wanted[1]}: made for another base",
            code="adapter_wrong_base",
            param=module,
        )


def _linear_sizes(facts: BaseFacts) -> dict[str, tuple[int, int]]:
    """Inputs and outputs by the names Llama's descendants give their linear layers; other names are not judged."""
    wide, narrow = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    return {
        "q_proj": (facts.hidden, wide),
        "k_proj": (facts.hidden, narrow),
        "v_proj": (facts.hidden, narrow),
        "o_proj": (wide, facts.hidden),
        "gate_proj": (facts.hidden, facts.intermediate),
        "up_proj": (facts.hidden, facts.intermediate),
        "down_proj": (facts.intermediate, facts.hidden),
    }


def _values(file: Path, tensor: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The tensor's numbers; bf16, which numpy does not know, as the upper half of fp32."""
    import numpy as np

    kinds = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": np.uint16}
    if tensor["dtype"] not in kinds:
        raise Unservable(f"{file.name} holds {tensor['dtype']}; save it as F32, F16 or BF16", code="adapter_wrong_dtype")
    with file.open("rb") as handle:
        start = 8 + int.from_bytes(handle.read(8), "little")
        first, last = tensor["data_offsets"]
        handle.seek(start + first)
        raw = np.frombuffer(handle.read(last - first), dtype=kinds[tensor["dtype"]])
    return (raw.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else raw


def _finite(values: np.ndarray[Any, Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(values).all())
