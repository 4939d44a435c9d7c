"""What methods cost: machines by name, money and energy by formula, prompts that a cache holds, what fits on a machine."""

from __future__ import annotations

import pytest

from adapters.errors import InvalidInput
from adapters.tuning import memory
from advisor import bills, hardware, sizes
from advisor.advice import Advice, from_numbers
from advisor.bills import CACHED, TOGETHER
from advisor.candidates import METHODS, TRAINED
from advisor.evidence import by_name, number
from advisor.stated import Stated

P, TFLOPS = 8e9, 100.0
ROW = 512
ANSWER = ROW / 4


def known(**stated: float | str | int) -> dict[str, float | None]:
    made = from_numbers(Stated(n_examples=400, **stated))  # type: ignore[arg-type]
    found = by_name(made.evidence)
    return {name: number(found, name) for name in found}


def costs(made: Advice, method: str) -> dict[str, float | None]:
    return next(one["cost"] for one in made.to_json()["ranking"] if one["method"] == method)


@pytest.mark.parametrize("name", hardware.HARDWARE)
def test_a_named_machine_brings_its_memory_speed_power_and_price_each_with_its_source(name: str) -> None:
    machine = hardware.HARDWARE[name]
    found = by_name(hardware.evidence(name))
    assert number(found, "gpu_gib") == machine.memory_gib
    assert number(found, "watts") == machine.watts
    assert number(found, "bandwidth_gb_s") == machine.bandwidth_gb_s
    assert number(found, "train_tflops") == pytest.approx(hardware.SUSTAINED * machine.bf16_tflops, abs=0.05)
    assert machine.priced_by in found["price_per_hour"].how
    assert all(machine.title in one.how for one in found.values())


def test_a_machine_is_a_name_however_it_is_written_or_a_size() -> None:
    assert hardware.named("RTX 4090") == hardware.named("rtx4090") == hardware.HARDWARE["rtx-4090"]
    assert hardware.named("NVIDIA H100") == hardware.HARDWARE["h100"]
    assert hardware.named("24GiB") == hardware.named("24 g") == 24.0
    assert hardware.named("24GB") == pytest.approx(22.35, abs=0.01), "a box says more than there is"


@pytest.mark.parametrize("word", ["voodoo2", "24", "0GiB", "", "a100"])
def test_an_unknown_machine_is_an_error_that_lists_the_names(word: str) -> None:
    with pytest.raises(InvalidInput, match=r"rtx-4090, a10g.*h100") as caught:
        Stated(gpu=word)
    assert caught.value.param == "gpu"


def test_what_is_stated_by_number_goes_before_the_name() -> None:
    found = by_name(Stated(gpu="h100", price_per_hour=1.0, gpu_gib=40.0).evidence())
    assert (number(found, "price_per_hour"), number(found, "gpu_gib"), number(found, "watts")) == (1.0, 40.0, 700.0)


def test_money_and_energy_of_training_follow_from_its_time() -> None:
    found = known(params_b=8.0, gpu_gib=80.0, train_tflops=TFLOPS, price_per_hour=3.0, watts=500.0)
    seconds = found["train_seconds.lora"]
    assert seconds is not None
    assert found["train_price.lora"] == pytest.approx(3.0 * seconds / 3600, rel=0.01)
    assert found["train_kwh.lora"] == pytest.approx(500 * seconds / 3.6e6, rel=0.01)


def test_a_request_is_prompt_and_answer_at_two_operations_a_parameter() -> None:
    found = known(params_b=8.0, gpu_gib=80.0, train_tflops=TFLOPS, price_per_hour=3.6)
    by_hand = 1000 * 2 * P * ROW / (TFLOPS * 1e12)
    assert found["serve_seconds_per_1000.zero_shot"] == pytest.approx(by_hand, rel=0.01)
    assert found["serve_price_per_1000.zero_shot"] == pytest.approx(by_hand / 1000, rel=0.01)


def test_an_answer_takes_as_long_as_weights_and_cache_take_to_be_read() -> None:
    found = known(params_b=8.0, gpu="a100-80gb", train_tflops=1e6)
    cache = 2 * 32 * 8 * 128 * 2 * (ROW - ANSWER / 2)
    by_hand = 1000 * ANSWER * (2 * P / TOGETHER + cache) / 2039e9
    assert found["serve_seconds_per_1000.zero_shot"] == pytest.approx(by_hand, rel=0.02)


def test_shots_that_are_always_the_same_are_cached_and_chosen_ones_are_not() -> None:
    found = known(params_b=8.0, gpu_gib=80.0, train_tflops=TFLOPS)
    assert found["prompt_tokens.few_shot"] == found["prompt_tokens.knn_few_shot"]
    assert found["serve_seconds_per_1000.few_shot"] == found["serve_seconds_per_1000.zero_shot"]
    chosen = 1000 * 2 * P * (ROW + 8 * ROW) / (TFLOPS * 1e12)
    assert found["serve_seconds_per_1000.knn_few_shot"] == pytest.approx(chosen, rel=0.01)
    for method in ("few_shot", "many_shot", "knn_few_shot", "rag", "rag+lora"):
        assert found[f"warm_ms.{method}"] == (0.0 if method in CACHED else found[f"added_ms.{method}"])


def test_a_head_answers_with_the_encoder() -> None:
    found = known(task_type="classification", params_b=8.0, gpu_gib=80.0, train_tflops=TFLOPS)
    served, whole = found["serve_seconds_per_1000.head"], found["serve_seconds_per_1000.zero_shot"]
    assert served is not None
    assert whole is not None
    assert served < whole * 2 * memory.ENCODER.params / P


def test_raw_text_is_read_once() -> None:
    found = known(params_b=8.0, gpu_gib=80.0, train_tflops=TFLOPS, corpus_tokens=10_000_000)
    assert found["train_seconds.continued_pretraining"] == pytest.approx(6 * P * 1e7 / (TFLOPS * 1e12), rel=0.01)


def test_what_has_no_price_is_null_and_says_why_once() -> None:
    made = from_numbers(Stated(n_examples=400, params_b=8.0, gpu_gib=80.0))
    missing = [one for one in made.evidence if one.value is None and one.name in ("price_per_hour", "watts")]
    assert [one.name for one in missing] == ["price_per_hour", "watts"]
    assert all("state" in one.how and "gpu" in one.how for one in missing)
    assert costs(made, "lora")["train_price"] is None
    assert costs(made, "lora")["serve_price_per_1000"] is None
    assert costs(made, "lora")["train_seconds"] is not None


def test_every_method_has_all_its_costs_and_what_it_does_not_do_is_free() -> None:
    made = from_numbers(Stated(n_examples=400, params_b=1.0, gpu="l4"))
    for method in METHODS:
        cost = costs(made, method)
        assert {*bills.TRAINING, *bills.PROMPT, *bills.SERVING} <= set(cost)
        assert method in TRAINED or cost["train_price"] == cost["train_seconds"] == 0.0
    assert costs(made, "lora")["prompt_tokens"] == costs(made, "lora")["warm_ms"] == 0.0


def test_without_a_base_no_bill_is_made_up() -> None:
    made = from_numbers(Stated(n_examples=400, gpu="h100"))
    assert not [one.name for one in made.evidence if one.name.startswith(("serve_", "train_price", "train_kwh"))]
    assert costs(made, "lora")["serve_seconds_per_1000"] is None


@pytest.mark.parametrize(("stated", "rate"), [({}, 200), ({"labels_per_hour": 50.0}, 50)])
def test_rows_that_would_change_the_advice_are_told_in_hours_of_labelling(stated: dict[str, float], rate: int) -> None:
    made = from_numbers(Stated(n_examples=30, task_type="classification", n_classes=20, **stated))  # type: ignore[arg-type]
    found = by_name(made.evidence)
    rows, hours = number(found, "rows_to_label"), number(found, "labelling_hours")
    assert rows is not None
    assert hours == pytest.approx(rows / rate, abs=0.05)


def test_what_fits_on_a_machine_from_a_tenth_to_seventy_billion() -> None:
    table = sizes.table(Stated(gpu="24GiB"))
    assert (min(sizes.SIZES_B), max(sizes.SIZES_B)) == (0.135, 70.6)
    for way in sizes.WAYS:
        needs = [size.needs_gib[way] for size in table.sizes]
        assert needs == sorted(needs, key=lambda gib: gib or 0.0), f"{way} grows with the base"
        fitting = [table.fits(size, way) for size in table.sizes]
        assert fitting == sorted(fitting, reverse=True)
        assert fitting[0] is True
        assert fitting[-1] is False
    eight = next(size for size in table.sizes if size.params_b == 8.03)
    qlora, lora, full = (eight.needs_gib[way] or 0.0 for way in ("qlora", "lora", "full"))
    assert eight.weights_gib == pytest.approx(8.03e9 * 2 / 2**30, abs=0.01)
    assert qlora < lora < 24 < full
    assert (table.fits(eight, "lora"), table.fits(eight, "full")) == (True, False)


def test_what_fits_holds_for_a_run_that_scores_the_base_too() -> None:
    table = sizes.table(Stated(gpu="24GiB"))
    fourteen = next(size for size in table.sizes if size.params_b == 14.8)
    assert (fourteen.needs_gib["qlora"] or 0.0) < 24, "trained in 4 bits alone, it would"
    assert not table.fits(fourteen, "qlora")
    assert table.to_json()["bases"][0]["lora"]["fits"] is True


def test_weights_in_four_bits_take_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.sizes.on_gpu", lambda found: False)
    table = sizes.table(Stated(gpu_gib=64.0))
    assert all(size.needs_gib["qlora"] is None and not table.fits(size, "qlora") for size in table.sizes)
