"""The training loop at the shapes of large models, with random weights made where they are trained, beside TRL.

Full rows, all learned. Says tokens a second, share of the card's peak arithmetic and the most memory held. Loads no
gateway and no engine, so that a machine with torch, transformers, peft and TRL will do.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from typing import Any

from adapters.data.tokens import Encoded
from adapters.tuning.recipe import Recipe
from tests.bench import loops

LLAMA = {
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}
SHAPES: dict[str, dict[str, Any]] = {
    "toy": {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "intermediate_size": 128, "vocab_size": 512, "tie_word_embeddings": True,
    },
    "1b": {
        "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
        "intermediate_size": 8192, "vocab_size": 128_256, "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 14_336, "vocab_size": 128_256, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Llama-3.2-1B and Llama-3.1-8B, from their published config.json; toy is for trying this file."""
METHODS = {"toy": ("lora", "full"), "1b": ("lora", "full"), "8b": ("lora",)}
FLOPS = {"lora": 4, "full": 6}
"""For each parameter and token: forwards 2, backwards 2 to what came in, and 2 to the weights where they are tuned."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12}
"""Of the SXM cards in bf16, without sparsity (NVIDIA's data sheets)."""
WARMUP_STEPS = 3


def bench(asked: argparse.Namespace, has_trl: bool) -> None:
    import torch

    if asked.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here; --device cpu --shapes toy tries the same path")
        return
    card = torch.cuda.get_device_name() if asked.device == "cuda" else "CPU"
    torch.backends.cuda.matmul.allow_tf32 = True
    print(f"{card}, torch {torch.__version__}, rows of {asked.sequence} tokens, {asked.batch} to a step, {asked.steps} steps")
    print(f"{'shape':5} {'method':6} {'loop':15} {'tokens/s':>9} {'of peak':>8} {'with attention':>14} {'GiB':>6}  how")
    for shape in asked.shapes or ["1b", "8b"]:
        for method in METHODS[shape]:
            _compare(shape, method, asked, has_trl, card)


def _compare(shape: str, method: str, asked: argparse.Namespace, has_trl: bool, card: str) -> None:
    rates = {}
    for loop in ("graft", *(["graft, compiled"] if asked.compile else []), *(["TRL"] if has_trl else [])):
        said = _best_that_fits(shape, method, loop, asked)
        if said is None:
            print(f"{shape:5} {method:6} {loop:15} does not fit", flush=True)
            continue
        rates[loop], held, how, params = said
        peak = next((flops for name, flops in PEAK_FLOPS.items() if name in card), None)
        flops = FLOPS[method] * params
        shares = [
            f"{each * rates[loop] / peak:.1%}" if peak else "-" for each in (flops, flops + _attention_flops(shape, asked))
        ]
        print(
            f"{shape:5} {method:6} {loop:15} {rates[loop]:9.0f} {shares[0]:>8} {shares[1]:>14} {held:6.1f}  {how}", flush=True
        )
    if "TRL" in rates:
        print(
            f"{shape:5} {method:6} "
            + ", ".join(f"{name} / TRL = {rates[name] / rates['TRL']:.2f}" for name in rates if name != "TRL")
        )


def _attention_flops(shape: str, asked: argparse.Namespace) -> int:
    """For each token, causal: two products forwards and four backwards, over half a row on average."""
    of = SHAPES[shape]
    return 6 * asked.sequence * of["num_attention_heads"] * of["head_dim"] * of["num_hidden_layers"]


def _best_that_fits(shape: str, method: str, loop: str, asked: argparse.Namespace) -> tuple[float, float, str, int] | None:
    """The fastest way first: all rows of a step at once, then one, then one with activations computed anew."""
    import torch

    for rows_at_once, again in ((asked.batch, False), (1, False), (1, True)):
        recipe = Recipe(
            method, epochs=1, batch_size=asked.batch, micro_batch_size=rows_at_once, precision="pure", learning_rate=1e-5,
            max_length=asked.sequence, gradient_checkpointing=again, checkpoint_every_s=86_400.0,
        )  # fmt: skip
        how = f"{rows_at_once} at once" + (", activations computed anew" if again else "")
        try:
            return *_measure(shape, loop, recipe, asked), how, _parameters(shape)
        except torch.OutOfMemoryError:
            print(f"{shape:5} {method:6} {loop:15} has no room for {how}", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return None


def _measure(shape: str, loop: str, recipe: Recipe, asked: argparse.Namespace) -> tuple[float, float]:
    """Tokens a second after the first steps, and GiB held at most."""
    import torch

    on_cuda = asked.device == "cuda"
    if on_cuda:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = loops.prepared(_random(shape, asked.device), recipe, ours=loop != "TRL")
    if recipe.gradient_checkpointing and loop != "TRL":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if loop == "graft, compiled":
        decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
        for layer in decoder.model.layers:
            layer.compile()
    rows = _rows(recipe.batch_size * asked.steps, asked.sequence, SHAPES[shape]["vocab_size"])
    run: Callable[..., loops.Ran] = loops.graft
    ran = run(model, rows, recipe) if loop != "TRL" else loops.trl(model, rows, recipe, _tokenizer(), "padded")
    counted = (asked.steps - WARMUP_STEPS) * recipe.batch_size * asked.sequence
    held = torch.cuda.max_memory_reserved() / 2**30 if on_cuda else float("nan")
    return counted / ran.seconds(WARMUP_STEPS), held


def _random(shape: str, device: str) -> Any:
    """In bf16, made on the device: on a CPU and sent there, 8B would take minutes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM(LlamaConfig(**LLAMA, **SHAPES[shape], attn_implementation="sdpa"))
    finally:
        torch.set_default_dtype(before)


def _parameters(shape: str) -> int:
    of = SHAPES[shape]
    hidden, wide = of["hidden_size"], of["num_attention_heads"] * of["head_dim"]
    narrow = of["num_key_value_heads"] * of["head_dim"]
    layer = hidden * (2 * wide + 2 * narrow) + 3 * hidden * of["intermediate_size"] + 2 * hidden
    return of["num_hidden_layers"] * layer + hidden + hidden * of["vocab_size"] * (1 if of["tie_word_embeddings"] else 2)


def _rows(count: int, length: int, vocabulary: int) -> list[Encoded]:
    import torch

    ids = torch.randint(1, vocabulary, (count, length), generator=torch.Generator().manual_seed(0)).tolist()
    return [Encoded(row, list(row), length - 1, 4 * length) for row in ids]


def _tokenizer() -> Any:
    """TRL asks for one, if only for its padding."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
