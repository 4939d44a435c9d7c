"""What one adapter costs while it is served: the engine with LoRA, beside an engine that serves the merged weights.

Two engines on the same machine, asked in turns, never at once; the same prompts, and answers of the same length.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp

from adapters import bases
from adapters.tuning.merge import merge
from gateway import settings
from gateway.engines import vllm
from gateway.engines.contract import Slots
from gateway.settings import BaseSetting
from tests.bench import signatures, traffic
from tests.bench.adapters import BASE, said_by

START_S = 240


@contextlib.contextmanager
def engine(folder: Path, socket: Path, log: Path, slots: Slots | None) -> Iterator[None]:
    """A vLLM of Graft's own command line."""
    setting = replace(settings.load(), engine_max_model_len=2048)
    command = vllm.command(setting, BaseSetting(BASE, str(folder)), socket, slots)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.argv, env={**os.environ, **command.environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


async def ready(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(START_S):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get("/health") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.5)  # another process's readiness


async def _measure(sockets: tuple[Path, Path], made: Sequence[signatures.Signature], flags: argparse.Namespace) -> None:
    async with AsyncExitStack() as opened:
        with_lora, merged = [await opened.enter_async_context(traffic.session(socket)) for socket in sockets]
        await asyncio.gather(ready(with_lora), ready(merged))
        body = {"lora_name": made[0].name, "lora_path": str(made[0].folder)}
        async with with_lora.post("/v1/load_lora_adapter", json=body) as answer:
            assert answer.status == 200, await answer.text()
        targets = {
            "LoRA": traffic.Target(with_lora, [made[0].name], BASE, said_by(made)),
            "merged": traffic.Target(merged, [BASE], BASE, said_by(made)),
        }
        for callers in flags.callers:
            asks = traffic.zipf(1, 4 * callers + 32, signatures.PROMPTS)
            figures: dict[str, list[float]] = {name: [] for name in targets}
            for turn in range(flags.rounds + 1):
                for name, target in targets.items():
                    found = traffic.summary(await traffic.closed(target, asks, callers))
                    if found.errors or found.wrong:
                        raise SystemExit(f"{name}: {found}")
                    if turn:  # the first round only warms up
                        figures[name].append(found.tokens_per_s)
            rates = {name: statistics.median(found) for name, found in figures.items()}
            ratio = statistics.median(m / a for a, m in zip(figures["LoRA"], figures["merged"], strict=True))
            print(f"{callers:3d} callers: LoRA {rates['LoRA']:7.1f} tokens/s, merged {rates['merged']:7.1f}; "
                  f"ratio, median of pairs {ratio:.2f}", flush=True)  # fmt: skip


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench merged", description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=1, help="vLLM's --max-loras on the LoRA side")
    flags = parser.parse_args(argv)
    base = bases.locate(BASE, settings.load().storage_cache).folder
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
        place = Path(name)
        made = signatures.make(1, place / "made", base)
        merge(base, made[0].folder, place / "merged")
        slots = Slots(flags.slots, signatures.RANK, flags.slots)
        sockets = place / "lora.sock", place / "merged.sock"
        with (
            engine(base, sockets[0], place / "lora.log", slots),
            engine(place / "merged", sockets[1], place / "merged.log", None),
        ):
            asyncio.run(_measure(sockets, made, flags))


if __name__ == "__main__":
    main(sys.argv[1:])
