"""Many adapters on one real vLLM: through Graft, and the same engine driven directly, the same requests, in turns.

Three traffics: as many adapters as there are slots; Zipf over many more; and a trial of starvation, where some adapters
are asked more than the engine can answer and then cold ones come. Every answer must be its own adapter's word.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from adapters import bases
from adapters.adapted_model import AdaptedModel
from adapters.evaluation.probe import to_json
from adapters.registry import Registry
from gateway import settings
from gateway.db.database import open_database
from gateway.db.names import Names
from gateway.engines.sockets import socket_path
from tests.bench import signatures, traffic
from tests.bench.signatures import PROMPTS, Signature
from tests.flows.serving import Served, serving

Flags = argparse.Namespace

BASE = "smollm2"
HOT_S = 30.0
"""How long the hot adapters of the starvation trial are asked for; the cold ones come after a third of it."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench adapters", description=__doc__)
    parser.add_argument("--registered", type=int, default=1000, help="adapters registered and published on the base")
    parser.add_argument("--used", type=int, default=200, help="adapters that the Zipf traffic asks for")
    parser.add_argument("--slots", type=int, default=8, help="vLLM's --max-loras, and the size of the small set")
    parser.add_argument("--resident", type=int, default=256, help="vLLM's --max-cpu-loras")
    parser.add_argument("--callers", type=int, default=48, help="of the closed loops")
    parser.add_argument("--requests", type=int, default=250, help="of each round of a closed loop")
    parser.add_argument("--rounds", type=int, default=2, help="of each traffic on each side")
    parser.add_argument("--cold", type=int, default=8, help="cold adapters of the starvation trial, each asked once")
    parser.add_argument("--overload", type=float, default=1.2, help="arrivals of the starvation trial, beside what was served")
    return parser.parse_args(argv)


def register(home: Path, drafts: Sequence[tuple[AdaptedModel, Path, dict[str, Any]]]) -> list[AdaptedModel]:
    """Publishes each model with its PEFT files and its probe, and promotes it as whoever has proven it would."""
    setting = settings.load(environment={"GRAFT_STORAGE_HOME": str(home)})
    registry = Registry(setting.models)
    names = Names(open_database(setting.database_url), registry)
    with ThreadPoolExecutor(16) as writers:  # nearly all of it is waiting for the disk to have it
        published = list(writers.map(lambda draft: registry.publish(registry.add(*draft)), drafts))
    for model in published:
        names.promote(model.name, model.version)
    return published


def drafts(made: Sequence[Signature], base: str = BASE) -> list[tuple[AdaptedModel, Path, dict[str, Any]]]:
    return [(AdaptedModel(one.name, 0, base, one.ref), one.folder, to_json(one.probe)) for one in made]


def engine_socket(served: Served, base: str = BASE) -> Path:
    return socket_path(settings.load(environment=dict(served.environment)), f"{base}-0")


def said_by(made: Sequence[Signature]) -> traffic.IsRight:
    return lambda who, text: made[who].said(text)


class Sides:
    """The same engine twice: behind Graft, and on its own socket under the names that Graft loaded the adapters by."""

    def __init__(self, graft: traffic.Target, alone: traffic.Target) -> None:
        self.targets = {"graft": graft, "vLLM alone": alone}

    async def closed(self, title: str, asks: Sequence[traffic.Ask], flags: Flags) -> dict[str, float]:
        """Tokens per second of each side, the median of its rounds."""
        print(f"\n{title}: {len(asks)} requests, {flags.callers} callers, {flags.rounds} rounds in turns")
        figures: dict[str, list[float]] = {side: [] for side in self.targets}
        for turn in range(flags.rounds):
            for side, target in list(self.targets.items())[:: 1 if turn % 2 == 0 else -1]:
                found = traffic.summary(await traffic.closed(target, asks, flags.callers))
                figures[side].append(found.tokens_per_s)
                print(f"  {side:10} {found}", flush=True)
        return {side: statistics.median(rates) for side, rates in figures.items()}

    async def starvation(self, per_s: float, flags: Flags) -> None:
        """Open arrivals: `slots` hot adapters above what the engine can do, then cold adapters, one request each."""
        from_s = HOT_S / 3
        hot = traffic.poisson(range(flags.slots), per_s, HOT_S, PROMPTS, seed=3)
        cold = [traffic.Ask(flags.slots + n, PROMPTS[n % len(PROMPTS)], from_s + n) for n in range(flags.cold)]
        asks = sorted([*hot, *cold], key=lambda ask: ask.at_s)
        print(f"\nstarvation: {flags.slots} hot adapters at {per_s:.1f} requests/s for {HOT_S:.0f} s, ", end="")
        print(f"{flags.cold} cold ones, one a second from {from_s:.0f} s on")
        for side, target in self.targets.items():
            records = await traffic.opened(target, asks)
            print(f"  {side:10} {traffic.summary(records)}")
            for kind in ("hot", "cold"):
                waits = [r.first_s for r in records if (r.who >= flags.slots) == (kind == "cold")]
                p50, p99 = traffic.percentile(waits, 50), traffic.percentile(waits, 99)
                print(f"  {'':10} {kind}: first token p50 {p50:.2f} s, p99 {p99:.2f} s, worst {max(waits):.2f} s", flush=True)


async def warm(target: traffic.Target, adapters: int, callers: int) -> float:
    """Asks every adapter once, so that all of them are in the engine's memory; seconds it took."""
    began = time.monotonic()
    records = await traffic.closed(target, [traffic.Ask(who, PROMPTS[0]) for who in range(adapters)], callers)
    bad = [r for r in records if r.status != 200 or not r.is_right]
    if bad:
        raise SystemExit(f"{len(bad)} of {adapters} adapters did not answer as themselves at first: {bad[:3]}")
    return time.monotonic() - began


async def _measure(
    served: Served, made: Sequence[Signature], models: Sequence[AdaptedModel], flags: argparse.Namespace
) -> None:
    async with AsyncExitStack() as opened:
        through: aiohttp.ClientSession = await opened.enter_async_context(traffic.session(served.url))
        beside: aiohttp.ClientSession = await opened.enter_async_context(traffic.session(engine_socket(served)))
        is_right = said_by(made)
        graft = traffic.Target(through, [model.name for model in models], BASE, is_right)
        alone = traffic.Target(beside, [model.engine_name for model in models], BASE, is_right)
        print(f"{flags.used} adapters loaded and asked once through Graft: {await warm(graft, flags.used, 16):.1f} s")
        sides = Sides(graft, alone)
        few = await sides.closed(
            f"{flags.slots} adapters", traffic.zipf(flags.slots, flags.requests, PROMPTS, exponent=0), flags
        )
        many = await sides.closed(f"Zipf over {flags.used}", traffic.zipf(flags.used, flags.requests, PROMPTS, seed=1), flags)
        print(f"\nGraft, {flags.used} adapters beside {flags.slots}: {many['graft'] / few['graft']:.2f}")
        print(f"Graft beside vLLM alone, {flags.used} adapters: {many['graft'] / many['vLLM alone']:.2f}; "
              f"{flags.slots} adapters: {few['graft'] / few['vLLM alone']:.2f}")  # fmt: skip
        await sides.starvation(flags.overload * few["graft"] / graft.max_tokens, flags)


def main(argv: Sequence[str] = ()) -> None:
    flags = parse(argv)
    base = bases.locate(BASE, settings.load().storage_cache).folder
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as place:
        home = Path(place) / "home"
        began = time.monotonic()
        made = signatures.make(flags.registered, Path(place) / "made", base)
        print(f"{len(made)} adapters of rank {signatures.RANK} made in {time.monotonic() - began:.1f} s", flush=True)
        began = time.monotonic()
        models = register(home, drafts(made))
        print(f"registered and promoted in {time.monotonic() - began:.1f} s", flush=True)
        variables = {"GRAFT_ENGINE_MAX_LORAS": str(flags.slots), "GRAFT_ENGINE_MAX_CPU_LORAS": str(flags.resident),
                     "GRAFT_ENGINE_MAX_LORA_RANK": str(signatures.RANK), "GRAFT_ENGINE_LORA_MEMORY_GIB": "8"}  # fmt: skip
        with serving(home, **variables) as served:
            asyncio.run(_measure(served, made, models, flags))


if __name__ == "__main__":
    main(sys.argv[1:])
