"""adapter_model.safetensors held against the base: every matrix has a layer, its shape, a rank and numbers that do something.

An engine loads names that match no layer without a word and then answers as the base does; so each name is looked up.
Knows no engine; numpy reads the values, one matrix at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.errors import Unservable
from adapters.intake.config import LoraConfig, unique_keys
from adapters.intake.listing import check_size

if TYPE_CHECKING:
    import numpy as np

TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
"""The names that PEFT and vLLM agree on; without the prefix vLLM would apply what PEFT, and so the probe, does not."""
LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")

FOREIGN: dict[str, tuple[str, str]] = {
    r"\.trainable_tokens_": ("adapter_trains_tokens", "trained tokens are not served; put new tokens into a copy of the base"),
    r"\.lora_magnitude_vector": ("adapter_uses_dora", "DoRA is not served; train without use_dora"),
    r"\.bias$": ("adapter_has_bias", "biases are not served; train with bias 'none'"),
    r"\.lora_embedding_[AB]$": (
        "adapter_on_embeddings",
        "LoRA on embeddings is not served; leave embed_tokens out of target_modules",
    ),
    r"(embed_tokens|lm_head)(\.base_layer)?\.weight$": (
        "adapter_holds_base_weights",
        "it is the base's own; save again with save_embedding_layers=False",
    ),
    r"\.modules_to_save\.": (
        "adapter_replaces_modules",
        "whole replaced modules are not served; train without modules_to_save",
    ),
    r"^(?!base_model\.model\.).*\.lora_[AB]\.weight$": (
        "adapter_foreign_tensor",
        "PEFT would not apply a name without base_model.model. before it; save it with PEFT's save_pretrained",
    ),
    r"\.lora_[AB]\.[^.]+\.weight$": (
        "adapter_foreign_tensor",
        "it carries an adapter's name inside, which the engine cannot read; save it with PEFT's save_pretrained",
    ),
}
"""Tensors that are no LoRA matrix, by what their names contain: code and sentence."""

LONGEST_HEADER = 100_000_000
"""Bytes; the format's own bound."""
PICKLES = (b"\x80", b"PK\x03\x04")
"""How pickled files begin: bare, and in the zip that torch.save writes."""
READABLE = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Weights:
    modules: tuple[str, ...]
    """Full names of the adapted linear layers, sorted."""
    dtype: str
    size_bytes: int


def check_weights(file: Path, config: LoraConfig, shapes: Mapping[str, tuple[int, int]]) -> Weights:
    """`shapes` is what `bases.linear_shapes` gives. Raises Unservable whose `param` is the tensor or the module."""
    header = _header(file)
    modules = _modules(header)
    for module, sides in modules.items():
        if set(sides) != {"A", "B"}:
            raise Unservable(f"'{module}' has only one of its two matrices", code="adapter_incomplete", param=module)
        _check_place(module, shapes)
        _check_shapes(module, header[sides["A"]]["shape"], header[sides["B"]]["shape"], config.rank_of(module), shapes[module])
    _check_targets(set(modules), config, shapes)
    _check_values(file, header, modules)
    dtypes = sorted({str(tensor["dtype"]) for tensor in header.values()})
    return Weights(tuple(sorted(modules)), ", ".join(dtypes), file.stat().st_size)


def _header(file: Path) -> dict[str, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as handle:
        first = handle.read(8)
        start = handle.read(min(int.from_bytes(first, "little"), LONGEST_HEADER))
    if start[:1] != b"{" and first.startswith(PICKLES):
        raise Unservable(
            f"{file.name} is pickled whatever its name says, and reading it would run code; save it with safetensors",
            code="adapter_is_pickle",
        )
    try:
        header: dict[str, dict[str, Any]] = json.loads(start, object_pairs_hook=unique_keys)
        header.pop("__metadata__", None)
        check_size(max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0))
        with safe_open(file, framework="numpy"):  # holds offsets, shapes, dtypes and the file's length against each other
            pass
    except (SafetensorError, ValueError, TypeError, LookupError, RecursionError, OSError) as error:
        raise Unservable(
            f"{file.name} is torn, or its header lies ({error}); save or send it again", code="adapter_torn"
        ) from error
    return header


def _modules(header: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Module → side → tensor."""
    modules: dict[str, dict[str, str]] = {}
    for name in header:
        if (found := TENSOR.fullmatch(name)) is None:
            raise _foreign(name)
        modules.setdefault(found["module"], {})[found["side"]] = name
    if not modules:
        raise Unservable("it holds no weights; was it saved on another rank than the first?", code="adapter_empty")
    return modules


def _foreign(name: str) -> Unservable:
    for pattern, (code, sentence) in FOREIGN.items():
        if re.search(pattern, name):
            return Unservable(f"it holds '{name}': {sentence}", code=code, param=name)
    return Unservable(
        f"it holds '{name}', which is no LoRA matrix; train a plain LoRA", code="adapter_foreign_tensor", param=name
    )


def _check_place(module: str, shapes: Mapping[str, tuple[int, int]]) -> None:
    if module in shapes:
        return
    if module == "lm_head":
        raise Unservable(
            "the base's output layer is its embedding, and LoRA on one of the two cannot be merged; "
            "leave lm_head out of target_modules",
            code="adapter_on_embeddings",
            param=module,
        )
    if (layer := LAYER.search(module)) is not None:
        layers = 1 + max((int(found[1]) for known in shapes if (found := LAYER.search(known))), default=-1)
        if int(layer[1]) >= layers:
            raise Unservable(
                f"'{module}' is beyond the base's {layers} layers: made for another base",
                code="adapter_wrong_base",
                param=module,
            )
    raise Unservable(
        f"'{module}' is no linear layer of the base, and the engine would load it and not apply it; "
        f"the base's are called like '{next(iter(shapes), 'nothing')}'",
        code="adapter_unknown_module",
        param=module,
    )


def _check_shapes(module: str, a: list[int], b: list[int], rank: int, base: tuple[int, int]) -> None:
    if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
        raise Unservable(
            f"'{module}' has matrices of {a} and {b}, and its config says rank {rank}; the engine would scale it wrongly",
            code="adapter_wrong_shape",
            param=module,
        )
    if (a[1], b[0]) != base:
        raise Unservable(
            f"'{module}' goes from {a[1]} to {b[0]}, the base's from {base[0]} to {base[1]}: made for another base",
            code="adapter_wrong_base",
            param=module,
        )


def _check_targets(modules: set[str], config: LoraConfig, shapes: Mapping[str, tuple[int, int]]) -> None:
    """PEFT adapts all modules whose names end in a target, and those alone; the engine goes by the matrices it finds."""
    if config.targets is None:
        return
    meant = {module for module in shapes if any(module == end or module.endswith(f".{end}") for end in config.targets)}
    for module in sorted(meant - modules):
        raise Unservable(
            f"target_modules names '{module}', and its matrices are missing; save the adapter again, "
            "or say which layers are meant (layers_to_transform)",
            code="adapter_incomplete",
            param=module,
        )
    for module in sorted(modules - meant):
        raise Unservable(
            f"'{module}' has matrices and is not in target_modules, so PEFT leaves it out and the engine would not; "
            "save the adapter again",
            code="adapter_beyond_targets",
            param=module,
        )


def _check_values(file: Path, header: Mapping[str, Any], modules: Mapping[str, Mapping[str, str]]) -> None:
    does_something = False
    for sides in modules.values():
        not_zero = []
        for name, values in ((name, _values(file, name, header[name])) for name in sides.values()):
            if not _finite(values):
                raise Unservable(f"'{name}' holds NaN or infinity; train it again", code="adapter_not_finite", param=name)
            not_zero.append(bool(values.any()))
        does_something = does_something or all(not_zero)
    if not does_something:
        raise Unservable(
            "its matrices multiply to zero everywhere, so it would answer exactly as the base does; was it trained at all?",
            code="adapter_does_nothing",
        )


def _values(file: Path, name: str, tensor: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The tensor's numbers; bf16, which numpy does not know, as the upper half of fp32."""
    import numpy as np

    if tensor["dtype"] not in READABLE:
        raise Unservable(
            f"'{name}' is {tensor['dtype']}; save it as {', '.join(READABLE)}", code="adapter_wrong_dtype", param=name
        )
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    first, last = tensor["data_offsets"]
    with file.open("rb") as handle:
        start = 8 + int.from_bytes(handle.read(8), "little")
        handle.seek(start + first)
        raw = np.frombuffer(handle.read(last - first), dtype=kinds[tensor["dtype"]])
    return (raw.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else raw


def _finite(values: np.ndarray[Any, Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(values).all())
