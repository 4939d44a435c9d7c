"""A name that moves: a hundred times under steady load on the stub, and on an idle real vLLM until its first token.

On the stub, every answer must be whole and given by the version that its header names. A move is asked for as `graft
models promote` does it, so it includes the load, the proof and the gateway's noticing it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from adapters import bases
from adapters.adapted_model import AdaptedModel
from adapters.evaluation.probe import to_json
from gateway import settings
from gateway.db.names import Names
from tests.bench import signatures, traffic
from tests.bench.adapters import BASE
from tests.flows.serving import serving
from tests.gateway.conftest import Home, gateway_on

NAME = "moving"
PATIENCE_S = 60.0


@dataclass(slots=True)
class Seen:
    """What the callers got while the name moved."""

    answers: int = 0
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)


async def _ask(session: aiohttp.ClientSession, max_tokens: int) -> tuple[int, str, str]:
    """(status, the version that the header names, text) of one stream."""
    body = {"model": NAME, "messages": [{"role": "user", "content": signatures.PROMPTS[0]}], "max_tokens": max_tokens,
            "temperature": 0, "stream": True}  # fmt: skip
    async with session.post("/v1/chat/completions", json=body) as response:
        text = (await response.read()).decode()
        is_whole = response.status == 200 and text.endswith("data: [DONE]\n\n")
        return response.status if is_whole else 0, response.headers.get("x-graft-model", ""), text


async def _caller(session: aiohttp.ClientSession, engine_names: dict[str, str], seen: Seen, over: asyncio.Event) -> None:
    while not over.is_set():
        try:
            status, version, text = await _ask(session, 24)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status, version, text = 0, "", repr(error)
        seen.answers += 1
        if status != 200:
            seen.failed.append(text)
        elif engine_names[version] not in text or any(other in text for v, other in engine_names.items() if v != version):
            seen.mixed.append(text)  # the stub says under which name it was asked


async def _until_answered_by(session: aiohttp.ClientSession, version: str) -> float:
    """Asks one after the other; seconds until the first token of the version."""
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_S:
        _, said, _ = await _ask(session, 1)
        if said == version:
            return time.monotonic() - began
    raise SystemExit(f"after {PATIENCE_S:.0f} s {version} has still not answered")


async def _under_load(socket: Path, names: Names, models: Sequence[AdaptedModel], callers: int) -> tuple[Seen, list[float]]:
    seen, over, took = Seen(), asyncio.Event(), []
    engine_names = {model.pinned: model.adapter.digest[:12] for model in models if model.adapter is not None}
    async with traffic.session(socket) as session:
        load = [asyncio.create_task(_caller(session, engine_names, seen, over)) for _ in range(callers)]
        for model in models[1:]:
            await asyncio.to_thread(names.want, NAME, model.version)
            took.append(await _until_answered_by(session, model.pinned))
        over.set()
        await asyncio.gather(*load)
    return seen, took


def _on_stub(flags: argparse.Namespace, place: Path) -> None:
    home = Home(place / "home", place / "made")
    home.path.mkdir(parents=True)
    models = [home.publish(NAME, seed=number, promote=number == 0) for number in range(flags.switches + 1)]
    with gateway_on(home, "--token-ms", "2", "--load-ms", "30") as gateway:
        seen, took = asyncio.run(_under_load(gateway.socket, home.names, models, flags.callers))
    print(f"stub, {flags.callers} callers: {len(took)} switches, {seen.answers} answers, {len(seen.failed)} failed, "
          f"{len(seen.mixed)} of mixed versions")  # fmt: skip
    print(f"  until the new version's first token: p50 {traffic.percentile(took, 50):.2f} s, worst {max(took):.2f} s")
    for text in (seen.failed + seen.mixed)[:3]:
        print(f"  {text[:300]}")


def _until_moved(names: Names, version: int) -> None:
    """Nobody asks meanwhile, so that the engine is idle but for the load and its proof."""
    while (pointer := names.pointer(NAME)) is None or pointer.version != version:
        time.sleep(0.005)  # another process writes the row: there is nothing to wait on


async def _on_idle_vllm(url: str, names: Names, models: Sequence[AdaptedModel]) -> list[float]:
    async with traffic.session(url) as session:
        await _until_answered_by(session, models[0].pinned)
        took = []
        for model in models[1:]:
            began = time.monotonic()
            await asyncio.to_thread(names.want, NAME, model.version)
            await asyncio.to_thread(_until_moved, names, model.version)
            await _until_answered_by(session, model.pinned)
            took.append(time.monotonic() - began)
        return took


def _on_vllm(flags: argparse.Namespace, place: Path) -> None:
    base = bases.locate(BASE, settings.load().storage_cache).folder
    made = signatures.make(flags.versions + 1, place / "made", base)
    home = Home(place / "home", place / "unused")
    models = []
    for one in made:
        draft = home.registry.add(AdaptedModel(NAME, 0, BASE, one.ref), one.folder, to_json(one.probe))
        models.append(home.registry.publish(draft))
    home.names.promote(NAME, models[0].version)
    with serving(home.path, GRAFT_ENGINE_MAX_LORA_RANK=str(signatures.RANK)) as served:
        took = asyncio.run(_on_idle_vllm(served.url, home.names, models))
    print(f"vLLM, nobody else asking: from the wish to the new version's first token, {len(took)} switches: "
          f"p50 {traffic.percentile(took, 50):.2f} s, worst {max(took):.2f} s")  # fmt: skip


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench switching", description=__doc__)
    parser.add_argument("--switches", type=int, default=100, help="on the stub")
    parser.add_argument("--callers", type=int, default=16, help="on the stub")
    parser.add_argument("--versions", type=int, default=8, help="switched to on vLLM; 0: the stub only")
    flags = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as place:
        _on_stub(flags, Path(place) / "stub")
        if flags.versions:
            _on_vllm(flags, Path(place) / "vllm")


if __name__ == "__main__":
    main(sys.argv[1:])
