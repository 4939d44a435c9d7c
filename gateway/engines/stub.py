"""A fake engine for load tests and laptops: vLLM's HTTP and LoRA behaviour without a model. Never the default.

Every answer says that a stub gave it. `python -m gateway.engines.stub --uds PATH` runs one alone.
Knows nothing of the gateway; `stub_adapters.py` is its memory, `stub_server.py` its HTTP.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.engines.contract import EngineCommand, Slots
from gateway.settings import RANK_STEPS, BaseSetting, Settings

SAYS = "This is the Graft stub speaking as {model}: no language model read your question, and these words mean nothing."


def command(settings: Settings, base: BaseSetting, socket: Path, slots: Slots | None) -> EngineCommand:
    slots = slots or Slots(1, RANK_STEPS[0], 1)
    argv = (
        sys.executable, "-m", "gateway.engines.stub",
        "--uds", str(socket),
        "--served-model-name", base.name,
        "--model", base.model,
        "--max-loras", str(slots.max_loras),
        "--max-lora-rank", str(slots.max_lora_rank),
        "--max-cpu-loras", str(slots.max_cpu_loras),
        "--max-model-len", str(settings.engine_max_model_len),
        *base.flags,
    )  # fmt: skip
    return EngineCommand(argv, {})


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.engines.stub", description="vLLM's manners without a model.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--uds", type=Path, help="the Unix socket to listen on")
    place.add_argument("--port", type=int, help="the TCP port to listen on, on loopback")
    parser.add_argument("--model", type=Path, default=Path(), help="looked at only for what was recorded beside it")
    parser.add_argument("--served-model-name", default="stub", help="the name of the base")
    parser.add_argument("--max-loras", type=int, default=4, help="distinct adapters that answer at the same time")
    parser.add_argument("--max-lora-rank", type=int, default=64)
    parser.add_argument("--max-cpu-loras", type=int, default=64, help="adapters kept; others are read again when used")
    parser.add_argument("--max-model-len", type=int, default=2048, help="words of prompt and answer together")
    parser.add_argument("--start-ms", type=float, default=0.0, help="before it listens")
    parser.add_argument("--first-token-ms", type=float, default=0.0, help="before the first word of an answer")
    parser.add_argument("--token-ms", type=float, default=0.0, help="before every further word")
    parser.add_argument("--load-ms", type=float, default=0.0, help="that a load stalls every answer")
    parser.add_argument("--deaf-to", default="", help="adapters that load and are not applied: names that begin so")
    parser.add_argument("--says", default=SAYS, help="every answer; {model} is the name it is asked under")
    parser.add_argument("--adapters-say", default="", help="what adapters answer in place of that")
    return parser.parse_args(argv)


if __name__ == "__main__":
    # the server stays out of the gateway process, which only asks for the command
    from gateway.engines.stub_server import serve

    serve(parse())
