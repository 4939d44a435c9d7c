"""Mixed traffic at a bounded rate for a long time: does the gateway's memory grow, do its file descriptors?

Streams, whole answers, callers who leave, the base and fifty adapters, unknown names and bad bodies. A growing server
shows in the slope of the second half, when caches are full.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from adapters import bases
from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.registry import WEIGHTS, file_digest
from gateway import settings
from tests.bench import signatures, traffic
from tests.bench.adapters import BASE, drafts, register
from tests.flows.serving import children_of, command_of, serving
from tests.gateway.conftest import PROBE, lora_folder

ADAPTERS = 50
SAMPLE_S = 10.0
GATEWAY = "gateway.app:from_environment"


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    resident_mib: float
    descriptors: int
    asked: int


class Soak:
    """The callers. Each kind is a method; what came of each request is counted as `kind outcome`."""

    def __init__(self, session: aiohttp.ClientSession, names: Sequence[str]) -> None:
        self._session, self._names, self._dice = session, names, random.Random(0)
        self.counts: Counter[str] = Counter()
        self._kinds: dict[str, tuple[float, Callable[[], Awaitable[str]]]] = {
            "stream": (0.45, lambda: self._answer(stream=True)),
            "whole": (0.25, lambda: self._answer(stream=False)),
            "leaves": (0.15, self._leaves),
            "unknown name": (0.05, lambda: self._refused(self._body() | {"model": "nobody"}, 404)),
            "bad body": (0.05, lambda: self._refused(b'{"model": ', 400)),
            "models": (0.05, self._models),
        }

    async def one(self) -> None:
        weights = [weight for weight, _ in self._kinds.values()]
        kind = self._dice.choices(list(self._kinds), weights)[0]
        try:
            outcome = await self._kinds[kind][1]()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = f"broke ({type(error).__name__})"
        self.counts[f"{kind}: {outcome}"] += 1

    def _body(self) -> dict[str, object]:
        model = BASE if self._dice.random() < 0.2 else self._dice.choice(self._names)
        asked = [{"role": "user", "content": self._dice.choice(signatures.PROMPTS)}]
        return {"model": model, "messages": asked, "max_tokens": self._dice.choice((2, 8, 24))}

    async def _answer(self, *, stream: bool) -> str:
        async with self._session.post("/v1/chat/completions", json=self._body() | {"stream": stream}) as response:
            body = await response.read()
        is_whole = not stream or body.endswith(b"data: [DONE]\n\n")
        return "answered" if response.status == 200 and is_whole else f"status {response.status}, {body[-200:]!r}"

    async def _leaves(self) -> str:
        """Before the first byte, or in the middle."""
        body = self._body() | {"stream": True, "max_tokens": 200, "ignore_eos": True}
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(self._dice.uniform(0, 1)),
                self._session.post("/v1/chat/completions", json=body) as response,
            ):
                await response.read()
        return "left"

    async def _refused(self, body: object, status: int) -> str:
        raw = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self._session.post("/v1/chat/completions", **raw) as response:  # type: ignore[arg-type]
            await response.read()
        return "refused" if response.status == status else f"status {response.status}"

    async def _models(self) -> str:
        async with self._session.get("/v1/models") as response:
            await response.read()
        return f"status {response.status}"


async def _run(url: str, pid: int, names: Sequence[str], flags: argparse.Namespace) -> tuple[list[Sample], Counter[str]]:
    began, samples = time.monotonic(), []
    async with traffic.session(url) as session, asyncio.TaskGroup() as asking:
        soak, gate = Soak(session, names), asyncio.Semaphore(flags.callers)
        dice = random.Random(1)

        async def held() -> None:
            try:
                await soak.one()
            finally:
                gate.release()

        while (now := time.monotonic() - began) < 60 * flags.minutes:
            if now >= SAMPLE_S * len(samples):
                samples.append(_sample(pid, now, soak.counts.total()))
            await asyncio.sleep(dice.expovariate(flags.rate))
            await gate.acquire()  # a bounded rate: who is slower than the arrivals is asked less
            asking.create_task(held())
    return samples, soak.counts


def _sample(pid: int, at_s: float, asked: int) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    sample = Sample(at_s, pages * 4096 / 2**20, descriptors, asked)
    if round(at_s / SAMPLE_S) % 6 == 0:
        print(
            f"{at_s / 60:5.1f} min  {sample.resident_mib:7.1f} MiB  {descriptors:4d} descriptors  {asked:7d} asked", flush=True
        )
    return sample


def _report(samples: Sequence[Sample], counts: Counter[str]) -> None:
    for outcome, count in sorted(counts.items()):
        print(f"  {outcome:60} {count:7d}")
    later = samples[len(samples) // 2 :]
    hours = [sample.at_s / 3600 for sample in later]
    memory = statistics.linear_regression(hours, [s.resident_mib for s in later]).slope
    files = statistics.linear_regression(hours, [float(s.descriptors) for s in later]).slope
    print(f"second half: memory {memory:+.1f} MiB/h, from {later[0].resident_mib:.1f} to {later[-1].resident_mib:.1f} MiB")
    held = [sample.descriptors for sample in later]
    print(f"             descriptors {files:+.1f}/h, between {min(held)} and {max(held)}")


def _models(kind: str, place: Path) -> list[str]:
    """A home with fifty adapters; their names."""
    if kind == "vllm":
        made = drafts(signatures.make(ADAPTERS, place / "made", bases.locate(BASE, settings.load().storage_cache).folder))
    else:
        folders = [lora_folder(place / "made" / str(seed), seed=seed) for seed in range(ADAPTERS)]
        refs = [AdapterRef("lora", file_digest(folder / WEIGHTS), 8) for folder in folders]
        made = [(AdaptedModel(f"customer-{n:02d}", 0, BASE, ref), folders[n], PROBE) for n, ref in enumerate(refs)]
    return [model.name for model in register(place / "home", made)]


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--engine", choices=("stub", "vllm"), default="stub")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second at most")
    parser.add_argument("--callers", type=int, default=24, help="requests at once at most")
    flags = parser.parse_args(argv)
    stub = ("--", "--first-token-ms", "50", "--token-ms", "10", "--load-ms", "30") if flags.engine == "stub" else ()
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as place:
        names = _models(flags.engine, Path(place))
        with serving(Path(place) / "home", "--engine", flags.engine, *stub) as served:
            pid = next(pid for pid in children_of(served.process.pid) if _is_worker(pid))
            samples, counts = asyncio.run(_run(served.url, pid, names, flags))
            _report(samples, counts)


def _is_worker(pid: int) -> bool:
    """granian's worker: the gateway's process without a gateway below it."""
    return GATEWAY in command_of(pid) and not any(GATEWAY in command_of(child) for child in children_of(pid))


if __name__ == "__main__":
    main(sys.argv[1:])
