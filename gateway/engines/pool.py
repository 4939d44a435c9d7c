"""The engines of this gateway: which of them answers for a model, and that its adapter is there, and proven, before.

A base is a group of replicas; so is each model whose weights are merged into a base of its own. Knows no HTTP route and
no name that callers use.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.adapted_model import AdaptedModel
from adapters.errors import InvalidInput, NotFound, Unavailable, Unproven, Unservable
from adapters.evaluation.probe import Probe, from_json
from adapters.registry import Registry
from adapters.soft_slot import Slot, read_slot
from gateway.engines import classifier
from gateway.engines.capacity import CapacityPlan, Standing, plan_base
from gateway.engines.contract import EngineKind, Slots
from gateway.engines.heat import Heat
from gateway.engines.holdings import Cargo
from gateway.engines.placing.contract import PlacementKnobs, Wanted
from gateway.engines.placing.table import POLICIES
from gateway.engines.replica import Replica
from gateway.settings import BaseSetting, Settings
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

READY_WAIT_S = 90.0
"""A request waits this long for an engine that is starting: about twice what vLLM takes on a CPU."""


CARGO_KEPT = 1024
"""Models whose probe rows stay read, some kilobytes each; a soft prompt's embeddings are up to some hundred."""
HEAD_SLOTS = Slots(max_loras=256, max_lora_rank=1, max_cpu_loras=4096)
"""A head is some kilobytes, and a batch may hold any number of them."""
LENT = "has left the accelerator to a tuning job and comes back when that ends; `graft jobs ls` shows it"
GROWING = "is started again, with room for an adapter of a higher rank"
SERVED = ("lora", "checkpoint", "soft_prompt", "head")
"""Kinds of adapters that engines answer with."""


class Group:
    """The replicas that serve the same weights."""

    def __init__(
        self, settings: Settings, base: BaseSetting, plan: CapacityPlan | None, telemetry: Telemetry, *,
        kind: EngineKind | None = None, slots: Slots | None = None,
    ) -> None:  # fmt: skip
        """`kind` and `slots` where they are not what the settings and the plan say."""
        self.base, self.plan = base, plan
        self.heat = Heat()
        self._policy = POLICIES[settings.placement_policy](
            PlacementKnobs(settings.placement_load_bound, settings.placement_hot_share)
        )
        turn = asyncio.Lock()
        slots = plan.slots if plan else slots
        self.replicas = [
            Replica(settings, base, number, slots, turn=turn, telemetry=telemetry, hottest_first=self._hottest_first, kind=kind)
            for number in range(base.replicas + len(base.urls))
        ]

    def choose(self, model: AdaptedModel, avoid: Replica | None) -> Replica:
        self.heat.touch(model.engine_name)
        others = [replica for replica in self.replicas if replica is not avoid and replica.is_ready]
        is_loaded = model.adapter is not None and model.adapter.kind != "soft_prompt"
        wanted = Wanted(model.engine_name, is_loaded, self.heat.share(model.engine_name))
        return self._policy.choose(others or self.replicas, wanted)

    def _hottest_first(self, engine_names: list[str]) -> list[str]:
        return sorted(engine_names, key=self.heat.share, reverse=True)


class Pool:
    """`start` and `stop` belong into the life of the event loop that serves; nothing is opened before `start`."""

    def __init__(
        self, settings: Settings, registry: Registry, telemetry: Telemetry, *, ready_wait_s: float = READY_WAIT_S,
        standing: Callable[[str], Sequence[Standing]] = lambda base: (),
    ) -> None:  # fmt: skip
        """`standing`: the adapters published on a base, which the capacity plan is made for."""
        if settings.placement_policy not in POLICIES:
            raise InvalidInput(f"placement.policy must be one of {', '.join(POLICIES)}", param="policy")
        self._settings, self._registry, self._telemetry = settings, registry, telemetry
        self._ready_wait_s, self._standing = ready_wait_s, standing
        self._groups: dict[str, Group] = {}
        self._merged: dict[str, Group] = {}
        """By engine name."""
        self._heads: dict[str, Group] = {}
        """By the base's name: the classifier process that has the heads made on it."""
        self._is_aside = False
        self._growing = asyncio.Lock()
        self._cargo: OrderedDict[str, Cargo] = OrderedDict()
        """Of the models asked for last."""
        self.unproven: asyncio.Queue[tuple[AdaptedModel, str]] = asyncio.Queue()
        """Models that engines did not serve as they were trained, and why."""

    async def start(self) -> None:
        """Starts every base's engines and returns without waiting for them. Raises Conflict if another gateway has them."""
        for base in self._settings.bases:
            plan = await asyncio.to_thread(plan_base, self._settings, base, self._standing(base.name))
            self._groups[base.name] = Group(self._settings, base, plan, self._telemetry)
        try:
            for replica in self._all():
                await replica.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await asyncio.gather(*(replica.stop() for replica in self._all()))
        for groups in (self._groups, self._merged, self._heads):
            groups.clear()

    async def step_aside(self) -> None:
        """Returns once no engine of this machine uses its accelerator; they stay away until `come_back`."""
        self._is_aside = True
        await asyncio.gather(*(replica.step_aside(LENT) for replica in self._all()))

    def come_back(self) -> None:
        self._is_aside = False
        for replica in self._all():
            replica.come_back()

    @property
    def is_ready(self) -> bool:
        """Every base has an engine that answers."""
        return bool(self._groups) and all(any(r.is_ready for r in group.replicas) for group in self._groups.values())

    def engine_state(self) -> dict[str, list[dict[str, Any]]]:
        """What every engine is doing, by base; plain JSON."""
        groups = self._groups | self._merged | {group.base.name: group for group in self._heads.values()}
        return {name: [replica.state() for replica in group.replicas] for name, group in groups.items()}

    def plans(self) -> dict[str, CapacityPlan]:
        return {name: group.plan for name, group in self._groups.items() if group.plan is not None}

    @asynccontextmanager
    async def lease(self, model: AdaptedModel, avoid: Replica | None = None) -> AsyncIterator[Replica]:
        """A replica that answers for the model under `model.engine_name`, counted as busy until this ends.

        Not `avoid`, if there is another that is ready. Raises Unavailable (no engine in time), Overloaded (too many wait),
        Unservable (the adapter), NotFound (its base is not served here).
        """
        self._check(model)
        cargo = await self._load_list(model)
        group = await self._group(model)
        replica = group.choose(model, avoid)
        async with AsyncExitStack() as taken:
            try:
                await taken.enter_async_context(replica.seat(cargo, model.engine_name, ready_wait_s=self._ready_wait_s))
            except Unproven as error:
                self.unproven.put_nowait((model, error.message))
                raise
            yield replica

    async def slot(self, model: AdaptedModel) -> Slot | None:
        """Where the model's soft prompt goes into each question; None where it has none. Raises as `lease` does."""
        if model.adapter is None or model.adapter.kind != "soft_prompt":
            return None
        cargo = await self._load_list(model)
        return cargo.slot if cargo is not None else None

    @property
    def merged(self) -> list[str]:
        """Engine names of the models that have engines of their own."""
        return list(self._merged)

    async def prove(self, model: AdaptedModel) -> None:
        """Brings the model to an engine and returns once its answers are what was trained. Raises as `lease` does."""
        await self._grow_for(model)
        async with self.lease(model):
            return

    async def _grow_for(self, model: AdaptedModel) -> None:
        """Starts a base's engines again with a plan of today, where that holds an adapter whose rank theirs does not."""
        adapter = model.adapter
        if adapter is None or adapter.kind != "lora" or adapter.rank is None:
            return
        async with self._growing:
            group = self._groups.get(model.base)
            if group is None or group.plan is None or adapter.rank <= group.plan.max_lora_rank or group.base.urls:
                return
            plan = await asyncio.to_thread(plan_base, self._settings, group.base, self._standing(model.base))
            if adapter.rank > plan.max_lora_rank or self._is_aside:
                return  # a setting or the memory forbids it, and the engine says so; or it is tried again by and by
            log.info("%s: engines start again for rank %d, which %s has", model.base, plan.max_lora_rank, model.pinned)
            await asyncio.gather(*(replica.step_aside(GROWING) for replica in group.replicas))
            await asyncio.gather(*(replica.stop() for replica in group.replicas))
            grown = self._groups[model.base] = Group(self._settings, group.base, plan, self._telemetry)
            grown.heat = group.heat
            await self._start(grown)

    async def retire(self, engine_name: str) -> None:
        """Returns once no request uses the adapter and no engine of ours can read its files."""
        merged = self._merged.pop(engine_name, None)
        self._cargo.pop(engine_name, None)
        for group in (*self._groups.values(), *self._heads.values()):
            for replica in group.replicas:
                await replica.holdings.retire(engine_name)
        if merged is not None:
            for replica in merged.replicas:
                await replica.holdings.retire(engine_name)
                await replica.stop()

    def _check(self, model: AdaptedModel) -> None:
        if not self._groups:
            raise Unavailable("the gateway is starting or stopping; try again in a moment")
        if model.base not in self._groups:
            served = ", ".join(self._groups)
            raise NotFound(
                f"'{model.name}' stands on the base '{model.base}', which is not served here (served: {served}); "
                "add it to [[bases]]",
                param="model",
                code="model_not_found",
            )
        if model.adapter is not None and model.adapter.kind not in SERVED:
            raise Unservable(
                f"'{model.name}' has a {model.adapter.kind} adapter; engines serve {', '.join(SERVED)}", param="model"
            )

    async def _load_list(self, model: AdaptedModel) -> Cargo | None:
        if model.adapter is None:
            return None
        if model.engine_name not in self._cargo:
            raw = await asyncio.to_thread(self._registry.probe, model)
            probe: Probe | None = from_json(raw) if raw is not None else None
            folder = self._registry.adapter_folder(model)
            slot: Slot | None = None
            if model.adapter.kind == "soft_prompt":
                slot = await asyncio.to_thread(read_slot, folder, model.base, model.prompt)
            self._cargo[model.engine_name] = Cargo(
                model.engine_name, folder, probe, is_adapter=model.adapter.kind in ("lora", "head"), slot=slot
            )
            if len(self._cargo) > CARGO_KEPT:
                self._cargo.popitem(last=False)
        return self._cargo[model.engine_name]

    async def _group(self, model: AdaptedModel) -> Group:
        if model.adapter is None or model.adapter.kind in ("lora", "soft_prompt"):
            return self._groups[model.base]
        if model.adapter.kind == "head":
            return await self._head_group(self._groups[model.base].base)
        if model.engine_name not in self._merged:
            folder: Path = self._registry.adapter_folder(model)
            base = BaseSetting(model.engine_name, str(folder), self._groups[model.base].base.flags)
            self._merged[model.engine_name] = Group(self._settings, base, None, self._telemetry)
            await self._start(self._merged[model.engine_name])
        return self._merged[model.engine_name]

    async def _head_group(self, base: BaseSetting) -> Group:
        """The classifier process of a base, started with the first head that is asked for."""
        if base.name not in self._heads:
            named = BaseSetting(f"{base.name}.heads", base.model)
            group = Group(self._settings, named, None, self._telemetry, kind=classifier.command, slots=HEAD_SLOTS)
            self._heads[base.name] = group
            await self._start(group)
        return self._heads[base.name]

    async def _start(self, group: Group) -> None:
        for replica in group.replicas:
            await replica.start()
            if self._is_aside:
                await replica.step_aside(LENT)

    def _all(self) -> list[Replica]:
        groups = (*self._groups.values(), *self._merged.values(), *self._heads.values())
        return [replica for group in groups for replica in group.replicas]
