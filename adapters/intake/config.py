"""adapter_config.json of a LoRA adapter, read strictly: nothing it asks for may be refused by the engine, or left undone.

The rules are those of vLLM's reader (vllm/lora/peft_helper.py, 0.32) and of PEFT's LoraConfig (0.21).
Knows no weights and no base.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.errors import Unservable

CONFIG = "adapter_config.json"
MAX_CONFIG_BYTES = 1 << 20

REFUSED: dict[str, tuple[str, str]] = {
    "use_dora": ("adapter_uses_dora", "DoRA is not served; train without use_dora, or refit it (peft's convert_to_lora)"),
    "modules_to_save": ("adapter_replaces_modules", "whole replaced modules are not served; train without modules_to_save"),
    "lora_bias": ("adapter_has_bias", "biases are not served; train with lora_bias false"),
    "layer_replication": ("adapter_replicates_layers", "replicated layers are not served; train on the base as it is"),
    "trainable_token_indices": (
        "adapter_trains_tokens",
        "trained tokens are not served; put new tokens into a copy of the base",
    ),
    "alora_invocation_tokens": ("adapter_is_activated", "activated LoRA is not served; train a plain one"),
    "use_qalora": ("adapter_is_quantised", "QA-LoRA is not served; train a plain LoRA"),
    "use_bdlora": ("adapter_is_block_diagonal", "block-diagonal LoRA is not served; train a plain one"),
    "target_parameters": ("adapter_targets_parameters", "LoRA on bare parameters is not served; name linear layers only"),
    "arrow_config": ("adapter_is_routed", "a router over several adapters is not served; bring the adapters one by one"),
    "kasa_config": ("adapter_changes_base", "KaSA changed the base's weights as well; train a plain LoRA"),
    "monteclora_config": ("adapter_is_sampled", "sampled adapters are not served; train a plain LoRA"),
}
"""Fields that must not be set: code and sentence."""

SERVED_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Inits that leave the base alone. PiSSA, OLoRA, CorDA and LoftQ do not, and an unknown one may not."""

QUANTIFIED_GROUP = re.compile(r"\)[*+{]")
"""What a pattern needs to take exponential time; the engine would run it on every module's name."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    rank: int
    alpha: float
    rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    targets: tuple[str, ...] | None
    """Ends of the names of all modules that were adapted; None where a pattern or a choice of layers says which."""
    raw: Mapping[str, Any]

    @property
    def highest_rank(self) -> int:
        return max([self.rank, *self.rank_pattern.values()])

    def rank_of(self, module: str) -> int:
        """As PEFT and vLLM find it: the first pattern that matches the name from a dot on."""
        for pattern, rank in self.rank_pattern.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return rank
        return self.rank


def read_config(folder: Path) -> LoraConfig:
    """Raises Unservable whose `param` is the field."""
    raw = _read(folder / CONFIG)
    if raw.get("peft_type") != "LORA":
        raise Unservable(
            f"only LoRA adapters are served so, not {raw.get('peft_type')}; merge it into the base, or refit it as LoRA",
            code="adapter_not_lora",
            param="peft_type",
        )
    for field, (code, sentence) in REFUSED.items():
        if raw.get(field):
            raise Unservable(sentence, code=code, param=field)
    if raw.get("bias", "none") != "none":
        raise Unservable("biases are not served; train with bias 'none'", code="adapter_has_bias", param="bias")
    init = raw.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in SERVED_INITS:
        raise Unservable(
            f"initialised by {init}, which changes the base as well; convert it when saving "
            "(path_initial_model_for_weight_conversion)",
            code="adapter_changes_base",
            param="init_lora_weights",
        )
    return _checked(raw)


def _read(file: Path) -> dict[str, Any]:
    try:
        if (size := file.stat().st_size) > MAX_CONFIG_BYTES:
            raise ValueError(f"{size} bytes are too many for one")
        raw = json.loads(file.read_bytes().decode(), object_pairs_hook=unique_keys, parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise Unservable(f"{CONFIG} cannot be read ({error}); save the adapter again", code="adapter_unreadable") from error
    if not isinstance(raw, dict):
        raise Unservable(f"{CONFIG} holds no JSON object; save the adapter again", code="adapter_unreadable")
    return raw


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json's `object_pairs_hook`: two readers may take different ones of a key's two values."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise ValueError(f"'{twice}' is there twice")
    return made


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _checked(raw: dict[str, Any]) -> LoraConfig:
    targets, rslora = raw.get("target_modules"), raw.get("use_rslora", False)
    if not (isinstance(targets, str) or _strings(targets)):
        raise _unusable("target_modules", "a list of module names, or a pattern")
    if not isinstance(rslora, bool):
        raise _unusable("use_rslora", "true or false")
    rank_pattern, alpha_pattern = (raw.get(field) or {} for field in ("rank_pattern", "alpha_pattern"))
    for field, pattern in (("rank_pattern", rank_pattern), ("alpha_pattern", alpha_pattern)):
        if not isinstance(pattern, dict):
            raise _unusable(field, "an object")
        for key in pattern:
            _check_pattern(field, key)
    some_layers = any(raw.get(field) for field in ("layers_to_transform", "exclude_modules"))
    return LoraConfig(
        rank=_rank("r", raw.get("r")),
        alpha=_alpha("lora_alpha", raw.get("lora_alpha")),
        rslora=rslora,
        rank_pattern={key: _rank("rank_pattern", rank) for key, rank in rank_pattern.items()},
        alpha_pattern={key: _alpha("alpha_pattern", alpha) for key, alpha in alpha_pattern.items()},
        targets=None if some_layers or not isinstance(targets, list) else tuple(targets),
        raw=raw,
    )


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(member, str) for member in value)


def _rank(field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _unusable(field, "a whole number of at least 1")
    return value


def _alpha(field: str, value: Any) -> float:
    wanted = "a number other than 0, which would scale the adapter away"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _unusable(field, wanted)
    try:
        alpha = float(value)
    except OverflowError:
        alpha = math.inf
    if alpha == 0 or not math.isfinite(alpha):
        raise _unusable(field, wanted)
    return alpha


def _check_pattern(field: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise _unusable(field, f"made of patterns, and '{pattern}' is none ({error})") from error
    if QUANTIFIED_GROUP.search(pattern):
        raise _unusable(field, f"made of patterns without repeated groups, unlike '{pattern}'")


def _unusable(field: str, wanted: str) -> Unservable:
    return Unservable(f"'{field}' in {CONFIG} must be {wanted}", code="adapter_bad_config", param=field)
