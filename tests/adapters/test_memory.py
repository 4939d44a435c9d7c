"""The memory formulas against what others measured."""

from __future__ import annotations

import re

import pytest

from adapters.errors import InvalidInput, WillNotFit
from adapters.tuning.memory import FORMULAS, available_gib, check_fits, estimate, lora_params_per_rank, typical_shape

PUBLISHED_PER_RANK = {1.24: 704_512, 3.21: 1_519_616, 8.03: 2_621_440, 70.6: 12_943_360}


@pytest.mark.parametrize("params_b", PUBLISHED_PER_RANK)
def test_lora_weights_per_rank_are_the_published_count(params_b: float) -> None:
    assert lora_params_per_rank(typical_shape(params_b)) == PUBLISHED_PER_RANK[params_b]


@pytest.mark.parametrize(("method", "measured_gib"), [("full", 36.2), ("lora", 18.7)])
def test_the_peft_benchmark_is_met_within_a_tenth(method: str, measured_gib: float) -> None:
    ours = estimate(typical_shape(3.21), method, rank=16, micro_batch_size=4, sequence_length=768)
    assert ours.gib == pytest.approx(measured_gib, rel=0.1)


def test_an_8b_base_needs_what_others_publish() -> None:
    facts = typical_shape(8.0)
    assert 16 <= estimate(facts, "lora", micro_batch_size=1).gib <= 22
    assert estimate(facts, "full", micro_batch_size=1).gib >= 60


@pytest.mark.parametrize("method", [*FORMULAS, "rag+lora", "few_shot+lora"])
@pytest.mark.parametrize("params_b", [0.135, 8, 70])
def test_parts_sum_up_and_more_of_anything_never_takes_less(method: str, params_b: float) -> None:
    facts = typical_shape(params_b)
    small = estimate(facts, method)
    assert small.gib == pytest.approx(sum(small.parts.values()))
    for more in ({"rank": 64}, {"micro_batch_size": 32}, {"sequence_length": 4096}, {"bytes_per_weight": 4}):
        assert estimate(facts, method, **more).gib >= small.gib


def test_a_sum_needs_at_least_what_each_member_needs() -> None:
    facts = typical_shape(1.24)
    both = estimate(facts, "rag+lora").gib
    assert both >= max(estimate(facts, "rag").gib, estimate(facts, "lora").gib)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'magic' is no method"):
        estimate(typical_shape(1), "lora+magic")


def test_what_does_not_fit_says_the_number_and_a_setting_that_does() -> None:
    facts = typical_shape(8.0)
    with pytest.raises(WillNotFit, match=r"needs about \d+\.\d GiB .* 24\.0 GiB are there; micro_batch_size (\d)") as error:
        check_fits(facts, "lora", available=24.0)
    rows = int(re.search(r"micro_batch_size (\d)", error.value.message)[1])
    assert check_fits(facts, "lora", micro_batch_size=rows, available=24.0).gib <= 24.0


def test_where_no_rows_fit_another_method_is_named_and_where_nothing_fits_that_is_said() -> None:
    facts = typical_shape(8.0)
    with pytest.raises(WillNotFit, match="method lora"):
        check_fits(facts, "full", available=24.0)
    with pytest.raises(WillNotFit, match="no method fits"):
        check_fits(facts, "lora", available=4.0)


def test_this_machine_has_memory() -> None:
    assert available_gib() > 0.1
