"""The yardsticks that the advisor is judged with (tests/bench/proof), on cases whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor import ranking
from advisor.bakeoff.contract import OutOfTime, Unplayable
from advisor.evidence import Evidence, by_name
from advisor.predicting.fitting import Setting
from tests.bench.proof import casebook, choosing, judging, memory, replay, without
from tests.bench.proof.cases import Case, completed
from tests.bench.proof.judging import Choice, Said


def case(task: str, n: int = 64, *, probe: float = 0.5, **scores: float) -> Case:
    found = by_name([
        Evidence("n_examples", n, "rows", "counted", n), Evidence("task_type", "classification", "", "guessed"),
        Evidence("n_classes", 4, "labels", "counted", n), Evidence("linear_probe_cv_score", probe, "share", "measured", n),
    ])  # fmt: skip
    setting = Setting(task, n, 0, found, scores, "smollm2")
    items = {method: tuple(float(row < 100 * score) for row in range(100)) for method, score in scores.items()}
    return Case(setting, completed(setting), items, dict.fromkeys(scores, (10.0, 2.0)))


def test_the_best_method_has_no_regret_and_another_what_it_scores_less() -> None:
    one = case("a", zero_shot=0.2, few_shot=0.5, lora=0.8)
    assert one.oracle("quality") == "lora"
    assert one.regret("lora", "quality") == 0
    assert one.regret("zero_shot", "quality") == pytest.approx(0.6, abs=0.02)
    assert Choice(one, "lora", "quality").is_level
    assert not Choice(one, "zero_shot", "quality").is_level


def test_what_a_rule_bars_is_no_yardstick_and_what_that_costs_is_told() -> None:
    few = case("a", n=6, zero_shot=0.2, few_shot=0.3, head=0.9)
    assert "head" in ranking.decide(few.found).barred
    assert few.oracle("quality") == "few_shot"
    assert few.barred_gain("quality") == pytest.approx(0.6, abs=0.03)


def test_every_task_weighs_the_same_however_many_settings_it_has() -> None:
    often = [Choice(case("often", zero_shot=0.2, lora=0.8), "lora", "quality")] * 9
    once = Choice(case("once", zero_shot=0.2, lora=0.8), "zero_shot", "quality")
    assert judging.summed([*often, once])["best"] == 0.5


def test_a_brier_score_is_nothing_for_certain_and_right_and_two_for_certain_and_wrong() -> None:
    one = case("a", zero_shot=0.2, lora=0.8)
    decision = ranking.decide(one.found)
    right, wrong = Said(one, decision, {"lora": 1.0, "zero_shot": 0.0}), Said(one, decision, {"lora": 0.0, "zero_shot": 1.0})
    assert judging.brier([right]) == {"brier": 0.0, "of equal chances": 0.5}
    assert judging.brier([wrong])["brier"] == 2.0
    (high, low) = judging.reliability([right])[::-1]
    assert (low["came"], high["came"]) == (0.0, 1.0)


def test_mixed_up_measurements_are_another_tasks_and_counts_stay() -> None:
    cases = [case("a", probe=0.1, zero_shot=0.2, lora=0.8), case("b", n=256, probe=0.9, zero_shot=0.2, lora=0.8)]
    first, second = without.shuffled(cases, seed=3)
    assert first.found["linear_probe_cv_score"].value == 0.9
    assert second.found["linear_probe_cv_score"].value == 0.1
    assert (first.found["n_examples"].value, second.found["n_examples"].value) == (64, 256)


def test_a_chooser_that_knows_nothing_of_the_task_learns_from_the_others() -> None:
    others = [case(name, zero_shot=0.2, few_shot=0.3, lora=0.9) for name in "bc"]
    assert choosing.by_kind(case("a", zero_shot=0.9, lora=0.1), others, "quality")[0] == "lora"


def test_a_cell_that_was_not_played_or_takes_too_long_is_no_cell() -> None:
    lookup = replay.Lookup({64: case("a", zero_shot=0.2, lora=0.8)}, range(50))
    cell = lookup.play("lora", 64, 0, 11.0)
    assert (len(cell.values), cell.making_s, cell.asking_s) == (50, 10.0, 1.0)
    with pytest.raises(OutOfTime):
        lookup.play("lora", 64, 0, 10.5)
    with pytest.raises(Unplayable):
        lookup.play("head", 64, 0, None)
    with pytest.raises(Unplayable):
        lookup.play("lora", 16, 0, None)


@pytest.mark.parametrize("budget_s", [0.0, 11.0, 23.0, 1000.0])
def test_successive_halving_spends_no_more_than_it_is_given(budget_s: float) -> None:
    one = case("a", zero_shot=0.2, few_shot=0.5, lora=0.8)
    method, spent_s = replay.halving({64: one}, one, range(100), "quality", budget_s)
    assert spent_s <= budget_s
    assert method == "lora" or budget_s < 1000


def test_a_published_case_is_right_where_the_family_that_won_comes_first(tmp_path: Path) -> None:
    facts_change = {
        "id": "news", "paper": "invented", "figures": "read", "winner_family": "rag", "task_type": "qa_closed_book",
        "n_examples": 200, "n_unit": "examples", "params_b": 7, "domain_shift": "low", "needs_new_knowledge": True,
        "knowledge_volatile": True, "methods_compared": ["zero_shot", "rag", "lora"],
    }  # fmt: skip
    file = tmp_path / "cases.jsonl"
    file.write_text(json.dumps(facts_change) + "\n" + json.dumps(facts_change | {"winner_family": "tie_or_depends"}) + "\n")
    (said,) = casebook.agreements(file, None)
    assert (said.wanted, said.got, said.is_right) == ("retrieval", "retrieval", True)


def test_no_run_that_others_measured_is_foretold_to_need_less_than_it_did() -> None:
    for name, one in memory.beside_published().items():
        assert 0 <= one["off"] <= 0.1, name
