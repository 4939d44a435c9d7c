"""What an engine is given for adapters: how many at once, up to which rank, how many in memory; and what that costs.

A plan is arithmetic on the adapters' ranks and sizes, the base's shapes and the memory allowed. Knows no process.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.errors import InvalidInput, WillNotFit
from gateway.engines.contract import Slots
from gateway.settings import RANK_STEPS, BaseSetting, Settings

USUAL_RANK = 16
"""What `graft tune` makes unless told otherwise: a plan leaves room for it, since the next adapter comes after the start."""
USUAL_SLOTS, MOST_SLOTS = 4, 8
"""Every slot is paid at full rank, used or not, and with 64 answers at a time eight leave eight to each adapter; more
may be asked for with engine.max_loras."""
USUAL_KEPT = 64
BYTES = 2
"""A weight in bf16, which vLLM keeps adapters in whatever their files hold."""
LARGEST_HEAD = 258_048
"""vLLM refuses to start where it wraps a vocabulary above this (vllm/lora/layers/logits_processor.py): it does not then."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Standing:
    """An adapter that is to be served."""

    name: str
    """`name@version`, for people."""
    rank: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sides:
    """Inputs plus outputs, summed over the modules of a base; 0 where its shapes are not known."""

    linear: int = 0
    """Of the linear layers inside the blocks, which adapters are usually made for."""
    ends: int = 0
    """Of the embedding and the head, which most of vLLM's models wrap as well, tied or not."""


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    base: str
    max_loras: int
    max_lora_rank: int
    max_cpu_loras: int
    slot_gib: float
    """All slots. vLLM reserves them at the start, each at the full rank (create_lora_weights in vllm/lora/layers)."""
    kept_gib: float
    """The copies in memory, when as many as may be are there."""
    memory_gib: float
    """What engine.lora_memory_gib allows for both."""
    forced_by: tuple[str, ...] = ()
    """The adapters without which the rank would be lower."""
    rank_without: int = 0
    """What it would be; 0 where no adapter forces it."""
    saved_gib: float = 0.0
    """What as many slots would cost less."""
    too_big: tuple[str, ...] = ()
    """Adapters that this plan cannot serve."""
    sentences: tuple[str, ...] = ()
    """The plan in words, the first one its sum, the others what a person may want to change."""

    @property
    def slots(self) -> Slots:
        return Slots(self.max_loras, self.max_lora_rank, self.max_cpu_loras)

    @property
    def is_within_memory(self) -> bool:
        return self.slot_gib + self.kept_gib <= self.memory_gib

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def plan_base(settings: Settings, base: BaseSetting, adapters: Sequence[Standing]) -> CapacityPlan:
    """`plan`, with the base's shapes read from its folder where that is at hand and readable. Raises as `plan` does."""
    folder = bases.at_hand(base.model, settings.storage_cache)
    try:
        sizes = sides(folder) if folder else Sides()
    except InvalidInput:  # vLLM serves more kinds of models than we can price
        sizes = Sides()
    return plan(settings, base, adapters, sizes)


def plan(settings: Settings, base: BaseSetting, adapters: Sequence[Standing], sizes: Sides) -> CapacityPlan:
    """The highest rank that an adapter needs and memory allows; then slots and copies, as many as fit.

    What the settings or the base's flags say is kept, and priced. Raises WillNotFit where they leave all to the plan and
    memory does not hold one slot.
    """
    asked = slots_of(base.flags, Slots(settings.engine_max_loras, settings.engine_max_lora_rank, settings.engine_max_cpu_loras))
    memory = settings.engine_lora_memory_gib * GIB
    slots, price = _choose(asked, adapters, sizes, memory)
    made = CapacityPlan(
        base=base.name, max_loras=slots.max_loras, max_lora_rank=slots.max_lora_rank, max_cpu_loras=slots.max_cpu_loras,
        slot_gib=price.slots(slots.max_loras) / GIB, kept_gib=price.kept(slots.max_cpu_loras) / GIB, memory_gib=memory / GIB,
        too_big=tuple(adapter.name for adapter in adapters if adapter not in price.served),
    )  # fmt: skip
    forcing = {adapter for adapter in price.served if step(adapter.rank) == slots.max_lora_rank}
    if not forcing or asked.max_lora_rank:
        return dataclasses.replace(made, sentences=_sentences(made, sizes, slots))
    without, _ = _choose(asked, [adapter for adapter in adapters if adapter not in forcing], sizes, memory)
    if without.max_lora_rank < slots.max_lora_rank:
        made = dataclasses.replace(
            made, forced_by=tuple(sorted(adapter.name for adapter in forcing)), rank_without=without.max_lora_rank,
            saved_gib=made.slot_gib * (1 - without.max_lora_rank / slots.max_lora_rank),
        )  # fmt: skip
    return dataclasses.replace(made, sentences=_sentences(made, sizes, without))


def step(rank: int) -> int:
    """The lowest of vLLM's steps that serves the rank; the rank itself where none does."""
    return next((known for known in RANK_STEPS if known >= rank), rank)


def slots_of(flags: Sequence[str], slots: Slots) -> Slots:
    """`slots`, except where vLLM flags say otherwise: they come last on its command line, and the last counts."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False, add_help=False)
    for name in ("max_loras", "max_lora_rank", "max_cpu_loras"):
        parser.add_argument(f"--{name.replace('_', '-')}", f"--{name}", type=int, default=getattr(slots, name))
    try:
        said, _ = parser.parse_known_args(list(flags))
    except argparse.ArgumentError as error:
        raise InvalidInput(f"the flags of a base: {error}", param="flags") from error
    return Slots(said.max_loras, said.max_lora_rank, said.max_cpu_loras)


def sides(folder: Path) -> Sides:
    """Of the base in the folder. Raises InvalidInput where it is no decoder that Graft knows."""
    facts, shapes = bases.facts(folder), bases.linear_shapes(folder)
    linear = sum(inputs + outputs for module, (inputs, outputs) in shapes.items() if not module.endswith("lm_head"))
    return Sides(linear, 2 * (facts.vocab + facts.hidden) if facts.vocab <= LARGEST_HEAD else 0)


class _Price:
    """Bytes of slots and of copies at one rank."""

    def __init__(self, rank: int, adapters: Sequence[Standing], sizes: Sides, memory: float) -> None:
        self._slot = rank * (sizes.linear + sizes.ends) * BYTES
        self._usual = min(USUAL_RANK, rank) * sizes.linear * BYTES
        self._memory = memory
        left = memory - self._slot
        self.served = {adapter for adapter in adapters if adapter.rank <= rank and adapter.size_bytes <= max(left, 0)}
        """The adapters that the rank is enough for, and whose copy fits beside one slot of it."""
        self._largest = [0, *accumulate(sorted((adapter.size_bytes for adapter in self.served), reverse=True))]

    def slots(self, count: int) -> int:
        return count * self._slot

    def kept(self, count: int) -> int:
        """As if the largest were kept; beyond those that there are, adapters as `graft tune` makes them."""
        known = min(count, len(self.served))
        return self._largest[known] + (count - known) * self._usual

    def fits(self, loras: int, kept: int) -> bool:
        return self.slots(loras) + self.kept(kept) <= self._memory


def _choose(asked: Slots, adapters: Sequence[Standing], sizes: Sides, memory: float) -> tuple[Slots, _Price]:
    if asked.max_lora_rank:
        price = _Price(asked.max_lora_rank, adapters, sizes, memory)
        rank = asked.max_lora_rank
    else:
        rank, price = _highest(asked, adapters, sizes, memory)
    wishes = _wishes(asked, len(price.served))
    loras, kept = next(wishes)
    if not price.fits(loras, kept) and asked == Slots(0, 0, 0):
        needed = (price.slots(loras) + price.kept(kept)) / GIB
        raise WillNotFit(
            f"engine.lora_memory_gib is {memory / GIB:g}, and one adapter of rank {rank} takes {needed:.2f} GiB on this base; "
            "raise it",
            param="lora_memory_gib",
        )
    for wish in takewhile(lambda wish: price.fits(*wish), wishes):
        loras, kept = wish
    return Slots(loras, rank, kept), price


def _highest(asked: Slots, adapters: Sequence[Standing], sizes: Sides, memory: float) -> tuple[int, _Price]:
    """The highest step that an adapter needs and for which the least fits; the usual one without any, if that does."""
    wanted = {USUAL_RANK} | {step(adapter.rank) for adapter in adapters}
    for rank in sorted(wanted.intersection(RANK_STEPS), reverse=True):
        price = _Price(rank, adapters, sizes, memory)
        is_needed = rank <= USUAL_RANK or any(step(adapter.rank) == rank for adapter in price.served)
        if is_needed and price.fits(*next(_wishes(asked, 0))):
            return rank, price
    return RANK_STEPS[0], _Price(RANK_STEPS[0], adapters, sizes, memory)


def _wishes(asked: Slots, published: int) -> Iterator[tuple[int, int]]:
    """(slots, copies) from the least to the most that a plan would have, neither ever fewer than before.

    First the usual slots and copies, then as many slots as there are adapters for, then a copy of each.
    """
    loras = asked.max_loras or 1
    kept = max(asked.max_cpu_loras, loras)
    yield loras, kept
    most = max(USUAL_SLOTS, min(MOST_SLOTS, published))
    for target, copies in ((USUAL_SLOTS, min(published, USUAL_KEPT)), (most, max(published, USUAL_KEPT))):
        while not asked.max_loras and loras < min(target, asked.max_cpu_loras or target):
            loras += 1
            kept = max(kept, loras)
            yield loras, kept
        while not asked.max_cpu_loras and kept < copies:
            kept += 1
            yield loras, kept


def _sentences(made: CapacityPlan, sizes: Sides, without: Slots) -> tuple[str, ...]:
    if sizes == Sides():
        return (f"{_sum(made)}; what that costs is not known, as the base is not prepared or of a shape we cannot read",)
    said = [f"{_sum(made)}: {made.slot_gib:.2f} GiB of slots and up to {made.kept_gib:.2f} GiB of copies"]
    if made.forced_by:
        who = _listed(made.forced_by)
        one = len(made.forced_by) == 1
        more = f", and there would be {without.max_loras} slots" if without.max_loras > made.max_loras else ""
        said.append(
            f"{'one' if one else len(made.forced_by)} rank-{made.max_lora_rank} adapter{'' if one else 's'} ({who}) "
            f"tax{'es' if one else ''} every slot: without {'it' if one else 'them'} the rank would be {made.rank_without}, "
            f"the slots {made.saved_gib:.2f} GiB smaller{more}"
        )
    if made.too_big:
        said.append(
            f"not served, as rank or size is above what this plan holds: {_listed(made.too_big)}; raise "
            "engine.lora_memory_gib or engine.max_lora_rank, or tune with a lower rank"
        )
    if not made.is_within_memory:
        said.append(
            f"asked for explicitly, and more than engine.lora_memory_gib ({made.memory_gib:g}): lower engine.max_loras, "
            "engine.max_lora_rank or engine.max_cpu_loras, or leave them at 0"
        )
    return tuple(said)


def _sum(made: CapacityPlan) -> str:
    return f"{made.max_loras} adapters at once at rank {made.max_lora_rank}, {made.max_cpu_loras} kept in memory"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
