"""What the training loop costs: non-padding tokens a second beside TRL and a plain Trainer, same rows, same recipe.

On a CPU: SmolLM2-135M and Gemma-3-270M in bf16, three mixes of lengths, after a check in fp32 that every step loses the
same. With `--device cuda`: Llama shapes with random weights, beside TRL (shapes.py). Prints tables; promises nothing.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.data.tokens import IGNORED, Encoded
from adapters.tuning.recipe import Recipe
from tests.bench import loops

WINDOWS = (3, 8, 13)
"""Of an epoch of sixteen windows sorted by length, those that are trained: short, middling and long rows of the mix."""
TOLERANCE_NATS = 1e-3
ROOT = Path(__file__).parent.parent.parent
INSTALL = "TRL is not installed, so there is no peer to measure beside: pip install -e '.[bench]'"


@dataclass(frozen=True, slots=True)
class Mix:
    length: Callable[[random.Random], int]
    batch: int
    """Rows to a step: about 500 tokens in each mix."""


MIXES = {
    "short": Mix(lambda dice: dice.randint(32, 64), 10),
    "mixed": Mix(lambda dice: min(400, max(20, int(dice.lognormvariate(4.6, 0.7)))), 4),
    "long": Mix(lambda dice: dice.randint(256, 512), 2),
}
CASES = [("smollm2", mix, method) for mix in MIXES for method in ("lora", "full")]
CASES += [("gemma3-270m", "mixed", "lora"), ("gemma3-270m", "mixed", "full")]


def main(flags: Sequence[str] = ()) -> None:
    import torch

    asked = _flags(flags)
    has_trl = importlib.util.find_spec("trl") is not None
    if not has_trl:
        print(INSTALL)
    if asked.processor_time:
        torch.set_num_threads(1)
        loops.clock = time.process_time
    if asked.device == "cuda" or asked.shapes:
        from tests.bench import shapes

        shapes.bench(asked, has_trl)
        return
    if not asked.skip_check:
        check(has_trl)
    print(f"{'base':12} {'rows':6} {'method':6} {'graft':>7} {'TRL':>7}  {'TRL with':13} {'ratio':>6} (min, max)     Trainer")
    for base, mix, method in CASES:
        if all(word in (base, mix, method) for word in asked.only):
            compare(base, mix, method, asked.rounds, asked.ways if has_trl else [])


def _flags(flags: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench tuning")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=_words, default=[], help="cases with all these words, as in long,full or gemma3-270m")
    parser.add_argument("--ways", type=_words, default=["padded", "padding_free", "packing"], help="of TRL; the best counts")
    parser.add_argument("--skip-check", action="store_true", help="do not compare losses in fp32 first")
    parser.add_argument("--processor-time", action="store_true", help="one thread, by its own seconds: for busy machines")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shapes", type=_words, default=[], help="random weights: 1b,8b (CUDA) or toy")
    parser.add_argument("--sequence", type=int, default=4096, help="tokens of a row, with --shapes")
    parser.add_argument("--steps", type=int, default=10, help="with --shapes; the first three do not count")
    parser.add_argument("--batch", type=int, default=2, help="rows to a step, with --shapes")
    parser.add_argument("--compile", action="store_true", help="with --shapes: our loop once more, its layers compiled")
    return parser.parse_args(list(flags))


def _words(text: str) -> list[str]:
    return text.split(",")


def check(has_trl: bool) -> None:
    """In fp32, the same batches in the same order: every step's loss, or exit 1."""
    import torch

    from adapters.data.batches import epoch_windows

    for method in ("lora", "full"):
        rows, recipe = rows_of("smollm2", MIXES["short"])[:12], _recipe(method, 4, learning_rate=1e-4)
        windows = epoch_windows([len(row.input_ids) for row in rows], batch_size=4, micro_batch_size=4, seed=recipe.seed)
        in_order = [rows[index] for window in windows for batch in window for index in batch]
        ran = {"graft": loops.graft(_model("smollm2", recipe, torch.float32, ours=True), rows, recipe)}
        theirs = {"transformers": lambda *given: loops.transformers(*given, way="in_order")}
        if has_trl:
            theirs["trl"] = lambda *given: loops.trl(*given, _tokenizer("smollm2"), way="in_order")
        for name, loop in theirs.items():
            ran[name] = loop(_model("smollm2", recipe, torch.float32, ours=False), in_order, recipe)
        apart = max(abs(a - b) for one in ran.values() for a, b in zip(one.losses, ran["graft"].losses, strict=True))
        final = ", ".join(f"{name} {one.losses[-1]:.5f}" for name, one in ran.items())
        print(f"fp32, {method}: loss of the last step {final}; at most {apart:.1e} nats apart in any step")
        if apart > TOLERANCE_NATS:
            sys.exit(f"the loops lose differently: more than {TOLERANCE_NATS} nats")


def compare(base: str, mix: str, method: str, rounds: int, ways: Sequence[str]) -> None:
    """One line of the table. The first round tries every way of TRL's; the best of them goes on."""
    rows = rows_of(base, MIXES[mix])
    recipe = _recipe(method, MIXES[mix].batch, learning_rate=1e-5 if method == "full" else 1e-4)
    rates: dict[str, list[float]] = {}
    best = list(ways)
    for number in range(rounds):
        rates.setdefault("graft", []).append(_rate("graft", base, rows, recipe))
        for way in best:
            rates.setdefault(way, []).append(_rate(way, base, rows, recipe))
        if number == 0:
            best = sorted(best, key=lambda way: -rates[way][0])[:1]
            plain = _rate("transformers", base, rows, recipe)
    ours = statistics.median(rates["graft"])
    line = f"{base:12} {mix:6} {method:6} {ours:7.0f} "
    if best:
        ratios = [a / b for a, b in zip(rates["graft"], rates[best[0]], strict=True)]
        line += f"{statistics.median(rates[best[0]]):7.0f}  {best[0]:13} {statistics.median(ratios):6.2f} "
        line += f"({min(ratios):.2f}, {max(ratios):.2f})"
    tried = ", ".join(f"{way} {rates[way][0]:.0f}" for way in ways if way not in best)
    print(f"{line:75} {plain:5.0f}" + (f"   [TRL's other ways: {tried}]" if tried else ""), flush=True)


def _rate(loop: str, base: str, rows: Sequence[Encoded], recipe: Recipe) -> float:
    """Tokens of prompts and answers a second, over one epoch."""
    import torch

    model = _model(base, recipe, torch.bfloat16, ours=loop == "graft")
    if loop == "graft":
        ran = loops.graft(model, rows, recipe)
    elif loop == "transformers":
        ran = loops.transformers(model, rows, recipe)
    else:
        ran = loops.trl(model, rows, recipe, _tokenizer(base), loop)
    del model
    gc.collect()
    return sum(len(row.input_ids) for row in rows) / ran.seconds()


def _recipe(method: str, batch: int, *, learning_rate: float) -> Recipe:
    return Recipe(
        method, epochs=1, batch_size=batch, micro_batch_size=batch, learning_rate=learning_rate, checkpoint_every_s=86_400.0
    )


def _folder(base: str) -> Path:
    from adapters import bases
    from gateway import settings

    return bases.locate(base, settings.load().storage_cache).folder


def _tokenizer(base: str) -> Any:
    from adapters import bases

    return bases.open_tokenizer(_folder(base))


def _model(base: str, recipe: Recipe, dtype: Any, *, ours: bool) -> Any:
    from adapters import bases

    return loops.prepared(bases.open_model(_folder(base), dtype), recipe, ours=ours)


def rows_of(base: str, mix: Mix) -> list[Encoded]:
    """Rows of the project's own documents; the latter half of each is learned."""
    dice = random.Random(0)
    text = "\n".join(file.read_text() for file in sorted((ROOT / "docs").rglob("*.md")))
    ids, start, rows = _tokenizer(base)(text)["input_ids"], 0, []
    lengths = sorted(mix.length(dice) for _ in range(16 * mix.batch))
    for length in (n for window in WINDOWS for n in lengths[window * mix.batch : (window + 1) * mix.batch]):
        piece, learned = ids[start : start + length], length // 2
        start += length
        rows.append(Encoded(piece, [IGNORED] * (length - learned) + piece[length - learned :], learned, 4 * learned))
    dice.shuffle(rows)
    return rows
