"""A good adapter for the tiny base, and every way of spoiling it that intake must notice, as one table; and odd good ones.

Each row takes a folder with the good adapter in it and changes it in place. Knows no rule, only the code that must be named.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from adapters.bases import linear_shapes
from adapters.intake.config import CONFIG
from adapters.intake.listing import MAX_WEIGHTS_BYTES
from adapters.registry import WEIGHTS

Change = Callable[[Path], object]
Tensors = dict[str, np.ndarray]
PREFIX = "base_model.model."
Q0 = f"{PREFIX}model.layers.0.self_attn.q_proj"
A, B = f"{Q0}.lora_A.weight", f"{Q0}.lora_B.weight"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK = 4


def good_adapter(folder: Path, base_folder: Path) -> Path:
    """Rank 4 on every linear layer, strong enough to be seen in an answer."""
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16, "target_modules": ALL, "bias": "none",
        "base_model_name_or_path": "org/tiny", "init_lora_weights": True, "use_rslora": False, "rank_pattern": {},
        "alpha_pattern": {}, "modules_to_save": None, "inference_mode": True, "peft_version": "0.21.2",
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config))
    save_file(matrices(linear_shapes(base_folder), lambda _: RANK), folder / WEIGHTS)
    return folder


def matrices(shapes: dict[str, tuple[int, int]], rank: Callable[[str], int], seed: int = 0) -> Tensors:
    draw, made = np.random.default_rng(seed), {}
    for module, (inputs, outputs) in shapes.items():
        made[f"{PREFIX}{module}.lora_A.weight"] = draw.normal(0, 0.2, (rank(module), inputs)).astype(np.float32)
        made[f"{PREFIX}{module}.lora_B.weight"] = draw.normal(0, 0.2, (outputs, rank(module))).astype(np.float32)
    return made


def configured(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | changes))

    return change


def without(field: str) -> Change:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        del config[field]
        (folder / CONFIG).write_text(json.dumps(config))

    return change


def config_text(text: str | bytes) -> Change:
    return lambda folder: (folder / CONFIG).write_bytes(text if isinstance(text, bytes) else text.encode())


def tensors(edit: Callable[[Tensors], Tensors | None]) -> Change:
    def change(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        save_file(edit(held) or held, folder / WEIGHTS)

    return change


def set_tensor(name: str, value: np.ndarray) -> Change:
    return tensors(lambda held: held | {name: value})


def each(edit: Callable[[str, np.ndarray], np.ndarray]) -> Change:
    return tensors(lambda held: {name: np.ascontiguousarray(edit(name, value)) for name, value in held.items()})


def renamed(old: str, new: str) -> Change:
    return tensors(lambda held: {name.replace(old, new): value for name, value in held.items()})


def header(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """Rewrites the safetensors header and leaves the bytes behind it."""

    def change(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        described = json.loads(raw[8 : 8 + length])
        edited = edit(described) or described
        text = edited if isinstance(edited, bytes) else json.dumps(edited).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])

    return change


def weights(edit: Callable[[bytes], bytes]) -> Change:
    return lambda folder: (folder / WEIGHTS).write_bytes(edit((folder / WEIGHTS).read_bytes()))


def file(name: str, content: bytes = b"x") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return change


def moved(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new)


def linked(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return change


def twice(described: dict[str, Any]) -> bytes:
    return (json.dumps(described)[:-1] + f", {json.dumps(A)}: {json.dumps(described[A])}}}").encode()


def claims_too_much(described: dict[str, Any]) -> None:
    described[A]["data_offsets"] = [0, MAX_WEIGHTS_BYTES + 1]


def shaped(rank: Callable[[str], int], keep: Callable[[str], bool] = lambda module: True, **changes: Any) -> Change:
    """The good adapter again, with these ranks, on these modules only."""

    def change(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        modules = {name.removeprefix(PREFIX).removesuffix(".lora_A.weight") for name in held if ".lora_A." in name}
        shapes = {
            module: (held[f"{PREFIX}{module}.lora_A.weight"].shape[1], held[f"{PREFIX}{module}.lora_B.weight"].shape[0])
            for module in sorted(modules)
            if keep(module)
        }
        save_file(matrices(shapes, rank), folder / WEIGHTS)
        configured(**changes)(folder)

    return change


def in_bf16(folder: Path) -> None:
    import torch
    from safetensors import torch as in_torch

    held = in_torch.load_file(folder / WEIGHTS)
    in_torch.save_file({name: value.to(torch.bfloat16) for name, value in held.items()}, folder / WEIGHTS)


def ends(*names: str) -> Callable[[str], bool]:
    return lambda module: module.endswith(names)


def one(rows: int, columns: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones((rows, columns), dtype=dtype)


BROKEN: dict[str, tuple[str, Change]] = {
    # the config
    "config missing": ("adapter_unreadable", lambda folder: (folder / CONFIG).unlink()),
    "config torn": ("adapter_unreadable", config_text('{"peft_type": "LORA", "r":')),
    "config not text": ("adapter_unreadable", config_text(b"\xff\xfe{\x00}\x00")),
    "config not an object": ("adapter_unreadable", config_text('["LORA"]')),
    "config nested without end": ("adapter_unreadable", config_text("[" * 100_000)),
    "config too long": ("adapter_unreadable", config_text(" " * (1 << 20) + "{}")),
    "key twice": ("adapter_unreadable", config_text('{"peft_type": "LORA", "r": 4, "r": 64}')),
    "alpha NaN": ("adapter_unreadable", configured(lora_alpha=float("nan"))),
    "alpha too large": ("adapter_bad_config", configured(lora_alpha=10**400)),
    "alpha zero": ("adapter_bad_config", configured(lora_alpha=0)),
    "alpha missing": ("adapter_bad_config", without("lora_alpha")),
    "rank missing": ("adapter_bad_config", without("r")),
    "rank zero": ("adapter_bad_config", configured(r=0)),
    "rank negative": ("adapter_bad_config", configured(r=-4)),
    "rank true": ("adapter_bad_config", configured(r=True)),
    "rank a word": ("adapter_bad_config", configured(r="many")),
    "rank pattern zero": ("adapter_bad_config", configured(rank_pattern={"q_proj": 0})),
    "rank pattern no object": ("adapter_bad_config", configured(rank_pattern=[4])),
    "pattern that is none": ("adapter_bad_config", configured(rank_pattern={"(q_proj": 4})),
    "pattern that never ends": ("adapter_bad_config", configured(alpha_pattern={"(.*.*)+x": 4})),
    "rslora a word": ("adapter_bad_config", configured(use_rslora="yes")),
    "target modules missing": ("adapter_bad_config", without("target_modules")),
    "rank too high": ("adapter_rank_too_high", configured(r=128)),
    "rank too high by pattern": ("adapter_rank_too_high", configured(rank_pattern={"q_proj": 128})),
    # what the engine does not do
    "IA3": ("adapter_not_lora", configured(peft_type="IA3")),
    "prompt tuning": ("adapter_not_lora", config_text('{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 8}')),
    "prefix tuning": ("adapter_not_lora", config_text('{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 8}')),
    "no type": ("adapter_not_lora", without("peft_type")),
    "DoRA": ("adapter_uses_dora", configured(use_dora=True)),
    "DoRA unsaid": ("adapter_uses_dora", set_tensor(f"{Q0}.lora_magnitude_vector", one(64, 1))),
    "bias": ("adapter_has_bias", configured(bias="all")),
    "bias unsaid": ("adapter_has_bias", set_tensor(f"{Q0}.base_layer.bias", one(64, 1))),
    "LoRA bias": ("adapter_has_bias", configured(lora_bias=True)),
    "PiSSA": ("adapter_changes_base", configured(init_lora_weights="pissa_niter_4")),
    "OLoRA": ("adapter_changes_base", configured(init_lora_weights="olora")),
    "CorDA": ("adapter_changes_base", configured(init_lora_weights="corda")),
    "LoftQ": ("adapter_changes_base", configured(init_lora_weights="loftq")),
    "init nobody knows": ("adapter_changes_base", configured(init_lora_weights="of tomorrow")),
    "KaSA": ("adapter_changes_base", configured(kasa_config={"beta": 0.1})),
    "modules to save": ("adapter_replaces_modules", configured(modules_to_save=["lm_head"])),
    "modules to save unsaid": (
        "adapter_replaces_modules", set_tensor(f"{PREFIX}score.modules_to_save.weight", one(2, 64)),
    ),
    "trained tokens": ("adapter_trains_tokens", configured(trainable_token_indices=[1, 2])),
    "trained tokens unsaid": (
        "adapter_trains_tokens", set_tensor(f"{PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta", one(2, 64)),
    ),
    "aLoRA": ("adapter_is_activated", configured(alora_invocation_tokens=[7, 8])),
    "replicated layers": ("adapter_replicates_layers", configured(layer_replication=[[0, 2], [1, 2]])),
    "QA-LoRA": ("adapter_is_quantised", configured(use_qalora=True)),
    "BD-LoRA": ("adapter_is_block_diagonal", configured(use_bdlora={"nblocks": 2})),
    "experts": ("adapter_targets_parameters", configured(target_parameters=["mlp.experts.gate_up_proj"])),
    "router": ("adapter_is_routed", configured(arrow_config={"top_k": 2})),
    "Monte Carlo": ("adapter_is_sampled", configured(monteclora_config={"num_samples": 4})),
    "embedding": (
        "adapter_on_embeddings", set_tensor(f"{PREFIX}model.embed_tokens.lora_embedding_A", one(RANK, 600)),
    ),
    "output layer of a tied base": (
        "adapter_on_embeddings",
        tensors(lambda held: held | matrices({"lm_head": (64, 600)}, lambda _: RANK)),
    ),
    "the base's embedding": ("adapter_holds_base_weights", set_tensor(f"{PREFIX}model.embed_tokens.weight", one(600, 64))),
    # the weights against the base
    "wider base": ("adapter_wrong_base", each(lambda name, value: value.repeat(2, axis=1 if "_A" in name else 0))),
    "deeper base": ("adapter_wrong_base", renamed("layers.1.", "layers.9.")),
    "other architecture": ("adapter_unknown_module", renamed("model.layers.", "transformer.h.")),
    "names of nothing": ("adapter_unknown_module", renamed("self_attn.", "attention.")),
    "prefix twice": ("adapter_unknown_module", renamed(PREFIX, PREFIX * 2)),
    "adapter's name inside": ("adapter_foreign_tensor", renamed("lora_A.weight", "lora_A.default.weight")),
    "foreign tensor": ("adapter_foreign_tensor", set_tensor("optimizer.state", one(2, 2))),
    "no prefix": ("adapter_foreign_tensor", renamed(PREFIX, "")),
    "more modules than targets": ("adapter_beyond_targets", configured(target_modules=ALL[:4])),
    "same module under two prefixes": ("adapter_foreign_tensor", set_tensor(A.removeprefix(PREFIX), one(RANK, 64))),
    "one side missing": ("adapter_incomplete", tensors(lambda held: {n: v for n, v in held.items() if n != B})),
    "one module missing": ("adapter_incomplete", tensors(lambda held: {n: v for n, v in held.items() if n not in (A, B)})),
    "no tensors": ("adapter_empty", lambda folder: save_file({}, folder / WEIGHTS)),
    "other rank than said": ("adapter_wrong_shape", configured(r=8)),
    "other rank than the pattern's": ("adapter_wrong_shape", configured(rank_pattern={"down_proj": 2})),
    "ranks of A and B differ": ("adapter_wrong_shape", set_tensor(B, one(64, 2))),
    "A on its side": ("adapter_wrong_shape", set_tensor(A, one(64, RANK))),
    "three dimensions": ("adapter_wrong_shape", set_tensor(A, np.ones((1, RANK, 64), np.float32))),
    "NaN": ("adapter_not_finite", set_tensor(A, one(RANK, 64) * np.nan)),
    "infinity": ("adapter_not_finite", set_tensor(B, one(64, RANK) * np.inf)),
    "every B zero": ("adapter_does_nothing", each(lambda name, value: value * ("_A" in name))),
    "every A zero": ("adapter_does_nothing", each(lambda name, value: value * ("_B" in name))),
    "whole numbers": ("adapter_wrong_dtype", each(lambda _, value: value.astype(np.int8))),
    "fp64": ("adapter_wrong_dtype", each(lambda _, value: value.astype(np.float64))),
    # the file itself
    "weights missing": ("adapter_unreadable", lambda folder: (folder / WEIGHTS).unlink()),
    "weights empty": ("adapter_torn", weights(lambda _: b"")),
    "weights no safetensors": ("adapter_torn", weights(lambda _: b"not safetensors at all")),
    "weights torn": ("adapter_torn", weights(lambda raw: raw[: len(raw) // 2])),
    "header torn": ("adapter_torn", weights(lambda raw: raw[:100])),
    "header longer than the file": ("adapter_torn", weights(lambda raw: struct.pack("<Q", 1 << 40) + raw[8:])),
    "offsets beyond the file": ("adapter_torn", header(lambda held: held[A].update(data_offsets=[0, 1 << 30]))),
    "offsets over each other": ("adapter_torn", header(lambda held: held[B].update(data_offsets=held[A]["data_offsets"]))),
    "shape other than offsets": ("adapter_torn", header(lambda held: held[A].update(shape=[RANK, 9999]))),
    "shape negative": ("adapter_torn", header(lambda held: held[A].update(shape=[-RANK, -64]))),
    "dtype nobody knows": ("adapter_torn", header(lambda held: held[A].update(dtype="F7"))),
    "tensor twice": ("adapter_torn", header(twice)),
    "header no object": ("adapter_torn", header(lambda _: b'["tensors"]')),
    "bytes after the end": ("adapter_torn", weights(lambda raw: raw + b"hidden")),
    "header claims too much": ("adapter_too_big", header(claims_too_much)),
    "pickle": ("adapter_is_pickle", moved(WEIGHTS, "adapter_model.bin")),
    "pickle under another name": ("adapter_is_pickle", weights(lambda _: pickle.dumps({"w": [1.0] * 99}))),
    "torch's zip under another name": ("adapter_is_pickle", weights(lambda _: b"PK\x03\x04" + b"\0" * 99)),
    "two files of weights": ("adapter_has_two_weights", file("adapter_model.bin")),
    "shards": ("adapter_is_sharded", moved(WEIGHTS, "adapter_model-00001-of-00002.safetensors")),
    "index of shards": ("adapter_is_sharded", file("adapter_model.safetensors.index.json", b"{}")),
    "weights a link": ("adapter_has_links", linked(WEIGHTS)),
    "config a link": ("adapter_has_links", linked(CONFIG)),
    "a link beside them": ("adapter_has_links", lambda folder: (folder / "README.md").symlink_to("/etc/hostname")),
    "a folder that is a link": ("adapter_has_links", lambda folder: (folder / "more").symlink_to(folder.parent)),
    "a pipe": ("adapter_has_links", lambda folder: os.mkfifo(folder / "pipe")),
}  # fmt: skip
"""What is wrong → the code that must say so, and how it came about."""


def _pattern_rank(module: str) -> int:
    return 2 if module.endswith("down_proj") else 8 if module == "model.layers.1.self_attn.q_proj" else RANK


UNSLOTH = r"(?:.*?(?:language|text).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))"
FULL_NAMES = [f"model.layers.{layer}.{kind}" for layer in (0, 1) for kind in ("self_attn.q_proj", "mlp.up_proj")]
ODD: dict[str, Change] = {
    "fp32 on every linear layer": lambda folder: None,
    "bf16": in_bf16,
    "fp16": each(lambda _, value: value.astype(np.float16)),
    "rsLoRA": configured(use_rslora=True),
    "odd rank": shaped(lambda _: 7, r=7),
    "rank one": shaped(lambda _: 1, r=1),
    "rank pattern": shaped(_pattern_rank, rank_pattern={"down_proj": 2, r"layers\.1\.self_attn\.q_proj": 8}),
    "alpha pattern": configured(alpha_pattern={"q_proj": 64, r"layers\.0\.mlp\..*": 1.5}),
    "attention only": shaped(lambda _: RANK, ends("q_proj", "k_proj", "v_proj", "o_proj"), target_modules=ALL[:4]),
    "one kind of layer": shaped(lambda _: RANK, ends("v_proj"), target_modules=["v_proj"]),
    "one layer": shaped(lambda _: RANK, lambda module: "layers.1." in module, layers_to_transform=[1]),
    "one B that is not zero": each(lambda name, value: value * ("_A" in name or "layers.1.mlp.down_proj" in name)),
    "targets by their full names": shaped(lambda _: RANK, ends(*FULL_NAMES), target_modules=FULL_NAMES),
    "targets by a pattern": shaped(lambda _: RANK, ends("q_proj", "v_proj"), target_modules=UNSLOTH),
    "targets all-linear": configured(target_modules="all-linear"),
    "a target that the base lacks": configured(target_modules=[*ALL, "w1"]),
    "gaussian init": configured(init_lora_weights="gaussian"),
    "EVA init": configured(init_lora_weights="eva", eva_config={"rho": 2.0}),
    "init off": configured(init_lora_weights=False),
    "fields of a newer PEFT": configured(peft_version="0.99.0", velora_config=None, made_tomorrow={"x": [1]}),
    "whatever a trainer leaves": lambda folder: [
        file(name)(folder) for name in ("README.md", "training_args.bin", "checkpoint-10/optimizer.pt", "tokenizer.json")
    ],
}  # fmt: skip
"""Unusual, and nothing wrong with it."""
