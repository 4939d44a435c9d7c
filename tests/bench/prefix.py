"""What shots cost on vLLM: the same for every question, and so in its prefix cache, beside those chosen for each question.

One engine, asked in turns; the same questions, as many shots. Counts the tokens that were computed (the prompt's less the
cached ones, as vLLM reports them) and the time to the first token. The cache is never emptied, as it is not in service.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from adapters import embedded
from adapters.conversation import Example, wire
from adapters.data.dataset import open_dataset, split
from adapters.prompts import PromptTemplate, Shot, render
from adapters.retrieval.encoder import Encoder
from adapters.retrieval.index import Index
from gateway import settings
from tests.flows.engine import vllm_engine

BASE = "smollm2"
TICKETS = Path(__file__).parents[2] / "examples/support_desk/tickets.jsonl"


@dataclass(frozen=True)
class Cost:
    prompt: int
    cached: int
    first_token_s: float


def ask(http: httpx.Client, messages: list[dict[str, object]]) -> Cost:
    body = {"model": BASE, "messages": messages, "temperature": 0, "max_tokens": 1, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    began, first, usage = time.perf_counter(), None, None
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                if first is None and event["choices"] and event["choices"][0]["delta"].get("content"):
                    first = time.perf_counter() - began
                usage = event.get("usage") or usage
    if first is None or usage is None:
        raise SystemExit("the engine made no token, or did not say what it counted")
    return Cost(usage["prompt_tokens"], (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0, first)


def arms(train: Sequence[Example], asked: Sequence[Example], shots: int) -> dict[str, list[list[dict[str, object]]]]:
    """Every question with no shots, with the same ones, and with those nearest to it (nearest last)."""
    encoder = Encoder(embedded.encoder_folder())
    index = Index(encoder.encode([row.question for row in train]))
    _, nearest = index.search(encoder.encode([row.question for row in asked]), shots)
    pool = [Shot(row.question, row.answer) for row in train]
    fixed = PromptTemplate(shots=tuple(pool[:shots]))
    return {
        "no shots": [wire(row.prompt) for row in asked],
        "fixed": [render(fixed, wire(row.prompt)) for row in asked],
        "chosen": [
            render(PromptTemplate(), wire(row.prompt), [pool[number] for number in reversed(found)])
            for row, found in zip(asked, nearest.tolist(), strict=True)
        ],
    }


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench prefix", description=__doc__)
    parser.add_argument("--data", type=Path, default=TICKETS)
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 16])
    flags = parser.parse_args(argv)
    parts = split(open_dataset(flags.data), seed=0)
    asked = parts.held_out[: flags.questions]
    folder = embedded.prepare(BASE, settings.load().storage_cache)
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as home:
        more = ("--enable-prompt-tokens-details",)
        with vllm_engine(Path(home), BASE, folder, None, max_model_len=4096, flags=more) as http:
            for shots in flags.shots:
                made = arms(parts.train, asked, shots)
                for messages in made.values():  # compiles, and fills the cache as service would have
                    ask(http, messages[-1])
                found: dict[str, list[Cost]] = {name: [] for name in made}
                for number in range(len(asked) - 1):
                    for name, messages in made.items():
                        found[name].append(ask(http, messages[number]))
                for name, costs in found.items():
                    computed = statistics.mean(cost.prompt - cost.cached for cost in costs)
                    first_ms = 1000 * statistics.median(cost.first_token_s for cost in costs)
                    prompt = statistics.mean(cost.prompt for cost in costs)
                    print(f"{shots:3d} shots, {name:8s}: {prompt:6.0f} tokens of prompt, {computed:6.0f} computed; "
                          f"first token after {first_ms:6.0f} ms (median of {len(costs)})", flush=True)  # fmt: skip


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
