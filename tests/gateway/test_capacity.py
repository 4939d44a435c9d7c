"""The plan: it holds what is published if memory does, costs what vLLM reserves, and says who makes it dear."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidInput, WillNotFit
from gateway import settings as settings_table
from gateway.engines.capacity import GIB, Sides, Standing, plan, plan_base, sides, slots_of, step
from gateway.engines.contract import Slots
from gateway.settings import RANK_STEPS, BaseSetting, Settings
from tests.tiny import tiny_llama

SMOLLM2 = Sides(linear=305_280, ends=99_456)
LLAMA_8B = Sides(linear=81_920 * 32)
"""Sum of inputs and outputs of q, k, v, o, gate, up and down, times 32 layers."""


PLANNED = Slots(0, 0, 0)


def settings(memory_gib: float = 2.0, slots: Slots = PLANNED) -> Settings:
    return dataclasses.replace(
        settings_table.load(environment={}), engine_lora_memory_gib=memory_gib, engine_max_loras=slots.max_loras,
        engine_max_lora_rank=slots.max_lora_rank, engine_max_cpu_loras=slots.max_cpu_loras,
    )  # fmt: skip


def base(*flags: str) -> BaseSetting:
    return BaseSetting("smollm2", "smollm2", flags)


def standing(number: int, rank: int, sizes: Sides = SMOLLM2) -> Standing:
    return Standing(f"bot{number}@1", rank, rank * sizes.linear * 2)


several = st.lists(st.integers(1, 512), max_size=30).map(lambda ranks: [standing(n, r) for n, r in enumerate(ranks)])
memories = st.floats(0.05, 16.0)


def test_without_adapters_there_is_room_for_what_tune_makes() -> None:
    assert plan(settings(), base(), [], SMOLLM2).slots == Slots(4, 16, 64)


def test_a_slot_costs_its_full_rank_on_every_module() -> None:
    # vLLM on Llama-3.1-8B: 5.24 MB for each unit of rank and slot
    made = plan(settings(64.0, Slots(8, 64, 8)), base(), [], LLAMA_8B)
    assert made.slot_gib * GIB == 8 * 64 * 81_920 * 32 * 2
    assert made.kept_gib * GIB == 8 * 16 * 81_920 * 32 * 2


@given(adapters=several, memory=memories)
def test_a_plan_stays_within_memory_and_holds_whatever_it_does_not_name(adapters: list[Standing], memory: float) -> None:
    made = plan(settings(memory), base(), adapters, SMOLLM2)
    assert made.slot_gib + made.kept_gib <= memory
    assert made.max_lora_rank in RANK_STEPS
    assert 1 <= made.max_loras <= made.max_cpu_loras
    served = [adapter for adapter in adapters if adapter.name not in made.too_big]
    assert all(adapter.rank <= made.max_lora_rank for adapter in served)
    one = made.max_lora_rank * (SMOLLM2.linear + SMOLLM2.ends) * 2
    assert all(one + adapter.size_bytes <= memory * GIB for adapter in served)


@given(adapters=several, memory=memories)
def test_an_adapter_is_refused_only_if_a_slot_of_its_rank_and_its_copy_do_not_fit(
    adapters: list[Standing], memory: float
) -> None:
    made = plan(settings(memory), base(), adapters, SMOLLM2)
    for adapter in adapters:
        alone = step(adapter.rank) * (SMOLLM2.linear + SMOLLM2.ends) * 2 + adapter.size_bytes
        if adapter.name in made.too_big:
            assert alone > memory * GIB


@given(adapters=several, memory=memories, more=st.floats(1.0, 4.0))
def test_more_memory_never_serves_less(adapters: list[Standing], memory: float, more: float) -> None:
    less, richer = (plan(settings(gib), base(), adapters, SMOLLM2) for gib in (memory, memory * more))
    assert richer.max_lora_rank >= less.max_lora_rank
    assert set(richer.too_big) <= set(less.too_big)
    if richer.max_lora_rank == less.max_lora_rank:
        assert richer.max_loras >= less.max_loras
        assert richer.max_cpu_loras >= less.max_cpu_loras


@given(adapters=several)
def test_with_memory_enough_everything_published_is_kept(adapters: list[Standing]) -> None:
    made = plan(settings(1000.0), base(), adapters, SMOLLM2)
    assert made.too_big == ()
    assert made.max_cpu_loras >= max(64, len(adapters))
    assert made.max_loras == min(8, max(4, len(adapters)))


def test_one_adapter_of_high_rank_is_named_with_what_it_costs() -> None:
    many = [standing(number, 8) for number in range(20)]
    made = plan(settings(), base(), [*many, Standing("legal@3", 200, 10_000_000)], SMOLLM2)
    assert (made.max_lora_rank, made.rank_without, made.forced_by) == (256, 16, ("legal@3",))
    assert made.saved_gib == pytest.approx(made.max_loras * (256 - 16) * (305_280 + 99_456) * 2 / GIB)
    assert any("one rank-256 adapter (legal@3) taxes every slot" in sentence for sentence in made.sentences)
    assert plan(settings(), base(), many, SMOLLM2).forced_by == ()


def test_two_of_the_same_high_rank_force_it_together() -> None:
    made = plan(settings(), base(), [standing(1, 128), standing(2, 128)], SMOLLM2)
    assert made.forced_by == ("bot1@1", "bot2@1")
    assert any("2 rank-128 adapters (bot1@1, bot2@1) tax every slot" in sentence for sentence in made.sentences)


def test_what_memory_cannot_hold_is_named() -> None:
    made = plan(settings(0.5), base(), [standing(1, 8), standing(2, 512)], SMOLLM2)
    assert made.too_big == ("bot2@1",)
    assert made.max_lora_rank == 16
    assert any("bot2@1" in sentence for sentence in made.sentences)


def test_what_is_asked_for_is_kept_and_priced_even_above_memory() -> None:
    made = plan(settings(0.1, Slots(8, 512, 100)), base(), [], SMOLLM2)
    assert made.slots == Slots(8, 512, 100)
    assert not made.is_within_memory
    assert any("asked for explicitly" in sentence for sentence in made.sentences)


def test_what_is_not_asked_for_is_still_planned() -> None:
    assert plan(settings(slots=Slots(2, 0, 0)), base(), [standing(1, 32)], SMOLLM2).slots == Slots(2, 32, 64)
    assert plan(settings(slots=Slots(0, 0, 3)), base(), [], SMOLLM2).slots == Slots(3, 16, 3)
    assert plan(settings(slots=Slots(0, 64, 0)), base(), [], SMOLLM2).slots == Slots(4, 64, 64)


def test_a_rank_asked_for_that_is_too_low_names_who_is_left_out() -> None:
    assert plan(settings(slots=Slots(0, 16, 0)), base(), [standing(1, 16), standing(2, 32)], SMOLLM2).too_big == ("bot2@1",)


def test_vllms_own_flags_count_like_settings() -> None:
    assert plan(settings(), base("--max-loras", "2", "--max_cpu_loras=9"), [], SMOLLM2).slots == Slots(2, 16, 9)
    assert slots_of(("--max-loras", "2", "--seed", "1", "--max-loras", "3"), Slots(4, 16, 64)) == Slots(3, 16, 64)
    with pytest.raises(InvalidInput, match="max-loras"):
        slots_of(("--max-loras", "two"), Slots(4, 16, 64))


def test_memory_that_holds_nothing_is_an_error_that_says_how_much_would() -> None:
    with pytest.raises(WillNotFit, match=r"lora_memory_gib is 0\.001, .* takes 0\.01 GiB"):
        plan(settings(0.001), base(), [], SMOLLM2)


def test_a_base_that_is_not_prepared_is_planned_without_prices(tmp_path: Path) -> None:
    empty = dataclasses.replace(settings(), storage_cache=tmp_path)
    made = plan_base(empty, base(), [standing(1, 32)])
    assert made.slots == Slots(4, 32, 64)
    assert made.slot_gib == 0
    assert "not prepared" in made.sentences[0]


def test_a_base_of_a_kind_that_cannot_be_priced_is_planned_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    made = plan_base(settings(), BaseSetting("odd", str(tmp_path)), [standing(1, 32)])
    assert (made.max_lora_rank, made.slot_gib) == (32, 0)
    with pytest.raises(InvalidInput, match="max-loras"):
        plan_base(settings(), BaseSetting("odd", str(tmp_path), ("--max-loras", "two")), [])


def test_shapes_are_read_from_the_base(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "tiny")
    # hidden 64, intermediate 128, two layers: q, k, v, o are 64 x 64; gate, up and down 64 x 128; 1,024 or fewer tokens
    found = sides(folder)
    assert found.linear == 2 * (4 * (64 + 64) + 3 * (64 + 128))
    assert 2 * 64 < found.ends <= 2 * (1024 + 64)
