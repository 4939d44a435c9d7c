"""What each placement policy costs: loads, waits and throughput on four stub engines, 1,000 adapters asked for by Zipf.

The stubs' costs are those of vLLM 0.32 with SmolLM2-135M on two cores: a load of a rank-8 adapter stalls everything for
60 ms, the first token comes after 120 ms, each further one after 30. Open arrivals say who waits, a closed loop how much
is done. Only policies, queues and engines take part: what is measured is where a request goes and how long it stands there.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from gateway import settings as settings_table
from gateway.engines.admission import Admission
from gateway.engines.client import EngineClient
from gateway.engines.contract import Slots
from gateway.engines.heat import Heat
from gateway.engines.placing.contract import PlacementKnobs, Policy, Wanted
from gateway.engines.placing.table import POLICIES
from gateway.engines.stub import command
from gateway.settings import BaseSetting
from tests.gateway.conftest import eventually

REPLICAS, ADAPTERS, EXPONENT = 4, 1000, 1.0
SLOTS = Slots(max_loras=8, max_lora_rank=16, max_cpu_loras=128)
IN_FLIGHT, WAITING = 64, 10_000
KNOBS = PlacementKnobs(load_bound=1.25, hot_share=0.05)
"""By Zipf the first of 1,000 has 13 % of all requests, the second 7 %: these two are hot here."""
COSTS = ("--load-ms", "60", "--first-token-ms", "120", "--token-ms", "30")
TOKENS = 16
RATE_PER_S, WARM_S, OPEN_S = 36.0, 30.0, 30.0
CALLERS, CLOSED_S = 64, 10.0
WORDS = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": TOKENS, "ignore_eos": True}


class Replica:
    def __init__(self, name: str, socket: Path, adapter: Path) -> None:
        self.name, self.is_ready = name, True
        self.client = EngineClient("stub", socket)
        self.admission = Admission(slots=SLOTS.max_loras, in_flight=IN_FLIGHT, waiting=WAITING)
        self.loads = 0
        self._adapter = adapter
        self._held: OrderedDict[str, asyncio.Task[None]] = OrderedDict()

    @property
    def busy(self) -> int:
        return self.admission.busy

    def holds(self, engine_name: str) -> bool:
        return engine_name in self._held

    async def answer(self, engine_name: str) -> float:
        """Seconds that the request stood before the engine was asked."""
        arrived = time.monotonic()
        async with self.admission.admitted(engine_name, needs_slot=True):
            await self._bring(engine_name)
            waited_s = time.monotonic() - arrived
            async with self.client.open("/v1/chat/completions", json.dumps({"model": engine_name} | WORDS).encode()) as answer:
                body = await answer.read()
                assert answer.status == 200, body
                assert json.loads(body)["model"] == engine_name
        return waited_s

    async def _bring(self, engine_name: str) -> None:
        if engine_name not in self._held:
            self.loads += 1
            self._held[engine_name] = asyncio.create_task(self.client.load(engine_name, self._adapter))
        self._held.move_to_end(engine_name)
        await asyncio.shield(self._held[engine_name])
        while len(self._held) > SLOTS.max_cpu_loras:
            oldest = next(name for name in self._held if name not in self.admission.running)
            del self._held[oldest]
            await self.client.unload(oldest)


class Traffic:
    """The same requests for every policy."""

    def __init__(self, policy: Policy, replicas: list[Replica]) -> None:
        self._policy, self._replicas, self._heat = policy, replicas, Heat()
        self._draw = random.Random(0)
        self._cumulative = list(itertools.accumulate(1 / (rank + 1) ** EXPONENT for rank in range(ADAPTERS)))

    async def ask(self) -> float:
        (number,) = self._draw.choices(range(ADAPTERS), cum_weights=self._cumulative)
        engine_name = f"bot{number}--0123456789ab"
        self._heat.touch(engine_name)
        wanted = Wanted(engine_name, needs_adapter=True, share=self._heat.share(engine_name))
        return await self._policy.choose(self._replicas, wanted).answer(engine_name)

    async def open(self, seconds: float) -> list[float]:
        """Waits in seconds, of requests that arrive whether or not others are done (a Poisson process)."""
        until, asking = time.monotonic() + seconds, []
        while time.monotonic() < until:
            asking.append(asyncio.create_task(self.ask()))
            await asyncio.sleep(self._draw.expovariate(RATE_PER_S))
        return await asyncio.gather(*asking)

    async def closed(self, seconds: float) -> float:
        """Answers per second, with as many callers as ask again as soon as they are answered."""
        began = time.monotonic()

        async def caller() -> int:
            for answered in itertools.count():
                if time.monotonic() - began > seconds:
                    return answered
                await self.ask()
            raise AssertionError

        answers = sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))
        return answers / (time.monotonic() - began)


@contextmanager
def _engines(place: Path) -> Iterator[list[Path]]:
    setting, sockets = settings_table.load(environment={}), [place / f"{number}.sock" for number in range(REPLICAS)]
    with ExitStack() as running:
        for socket in sockets:
            argv = command(setting, BaseSetting("stub", "stub", COSTS), socket, SLOTS).argv
            process = subprocess.Popen(argv)
            running.callback(process.wait, 20)
            running.callback(process.terminate)
        eventually(lambda: all(socket.exists() for socket in sockets), patience_s=60)
        yield sockets


@asynccontextmanager
async def _replicas(sockets: list[Path], adapter: Path) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as opened:
        replicas = [Replica(f"stub-{number}", socket, adapter) for number, socket in enumerate(sockets)]
        for replica in replicas:
            opened.push_async_callback(replica.client.close)
        yield replicas


async def _measure(name: str, sockets: list[Path], adapter: Path) -> str:
    async with _replicas(sockets, adapter) as replicas:
        traffic = Traffic(POLICIES[name](KNOBS), replicas)
        await traffic.open(WARM_S)
        before = sum(replica.loads for replica in replicas)
        waits = await traffic.open(OPEN_S)
        loads = sum(replica.loads for replica in replicas) - before
        cuts = statistics.quantiles(waits, n=100)
        rate = await traffic.closed(CLOSED_S)
    return f"{name:12} {len(waits):8} {loads:7} {loads / len(waits):9.2f} {cuts[49]:9.3f} {cuts[98]:9.3f} {rate:14.1f}"


def main(_: Sequence[str] = ()) -> None:
    print(f"{'policy':12} {'requests':>8} {'loads':>7} {'loads/req':>9} {'p50 s':>9} {'p99 s':>9} {'closed req/s':>14}")
    for name in POLICIES:
        with tempfile.TemporaryDirectory() as folder, _engines(Path(folder)) as sockets:
            (Path(folder) / "adapter_config.json").write_text(json.dumps({"r": 8}))
            print(asyncio.run(_measure(name, sockets, Path(folder))), flush=True)
