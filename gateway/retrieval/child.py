"""The encoder child: a process with the encoder, the indexes and the pools of shots, started on first use.

`python -m gateway.retrieval.child --uds PATH --encoder FOLDER …` runs one alone. Knows nothing of the gateway.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gateway.engines.contract import EngineCommand
from gateway.retrieval.encoders import chosen
from gateway.settings import Settings

NAME = "encoder"
"""Of its socket and its log."""


def command(settings: Settings, socket: Path) -> EngineCommand:
    """Raises InvalidInput or NotFound for an encoder or a reranker that is not there."""
    encoder = chosen(settings.retrieval_encoder)
    argv = [
        sys.executable, "-m", "gateway.retrieval.child", "--uds", str(socket),
        "--encoder", str(encoder.place), "--name", encoder.name, "--cache-mib", str(settings.retrieval_cache_mib),
    ]  # fmt: skip
    if settings.retrieval_reranker:
        argv += ["--reranker", settings.retrieval_reranker]
    return EngineCommand(
        tuple(argv),
        {
            # all cores, whatever the gateway's own processes are kept to: one encoder serves all of them
            "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
            # a thread that waits for the other's share does not spin: engines and tuning runs need the same cores
            "OMP_WAIT_POLICY": "passive",
            # a GPU is the engines', who take nearly all its memory; the encoder for one is a pooling replica among them
            "CUDA_VISIBLE_DEVICES": "",
        },
    )


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.retrieval.child", description="Texts to vectors, and search.")
    parser.add_argument("--uds", type=Path, required=True, help="the Unix socket to listen on")
    parser.add_argument("--encoder", required=True, help="a sentence-transformers folder, or http://host:port of a server")
    parser.add_argument("--name", default=NAME, help="what callers put into 'model'")
    parser.add_argument("--reranker", default="", help="a cross-encoder, by folder or hub id")
    parser.add_argument("--cache-mib", type=int, default=256, help="memory for vectors of texts that were encoded before")
    return parser.parse_args(argv)


if __name__ == "__main__":
    # the server stays out of the gateway process, which only asks for the command
    from gateway.retrieval.server import serve

    serve(parse())
