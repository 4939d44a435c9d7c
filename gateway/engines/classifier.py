"""The engine of heads: a child process with a sentence encoder, or the base, and many heads on it, loaded by name.

It speaks as vLLM does where an engine is spoken to, so that everything an engine needs (its process, loads one at a time,
retirement) is the same. `python -m gateway.engines.classifier --uds PATH …` runs one alone. Knows nothing of the gateway.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from adapters import bases
from gateway.engines.contract import EngineCommand, Slots
from gateway.settings import BaseSetting, Settings


def command(settings: Settings, base: BaseSetting, socket: Path, slots: Slots | None) -> EngineCommand:
    folder = bases.locate(base.model, settings.storage_cache, name=base.name).folder
    argv = (
        sys.executable, "-m", "gateway.engines.classifier",
        "--uds", str(socket), "--base-folder", str(folder), "--served-model-name", base.name,
    )  # fmt: skip
    return EngineCommand(argv, {"HF_HUB_OFFLINE": "1"})


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.engines.classifier", description="Labels from heads.")
    parser.add_argument("--uds", type=Path, required=True, help="the Unix socket to listen on")
    parser.add_argument("--base-folder", type=Path, required=True, help="what heads of the base read their features from")
    parser.add_argument("--served-model-name", required=True, help="the name of the base")
    return parser.parse_args(argv)


if __name__ == "__main__":
    # the server stays out of the gateway process, which only asks for the command
    from gateway.engines.classifier_server import serve

    serve(parse())
