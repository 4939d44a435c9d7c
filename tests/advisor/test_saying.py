"""What is said beside a ranking, and what would change it: sentences that quote evidence, thresholds that are true."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from advisor import says
from advisor.advice import Advice, advise, from_numbers
from advisor.evidence import Evidence
from advisor.says import rows_to_tell
from advisor.sensitivity import MOVES, Change
from advisor.stated import TASK_TYPES, Stated


def about(stated: dict[str, Any], **measured: float) -> Advice:
    """Stated numbers, and scores measured on 200 rows with an interval of a tenth."""
    found = Stated(**{"gpu_gib": 80.0} | stated).evidence()
    scores = [Evidence(name, value, "share", "measured", 200, (value - 0.05, value + 0.05)) for name, value in measured.items()]
    return advise([*found, *scores])


def said(made: Advice, words: str) -> str:
    found = [one for one in made.says if words in one]
    assert len(found) <= 1
    return found[0] if found else ""


# --- what is said


def test_few_rows_are_said_to_be_few() -> None:
    assert said(about({"n_examples": 7}), "7 rows are too few to tune on: it takes 10")
    assert said(about({"n_examples": 20}), "20 rows are few to tune on: gains show from 50")
    assert said(about({"n_examples": 25, "n_classes": 20, "task_type": "classification"}), "1.25 rows a label are too few")
    assert not said(about({"n_examples": 2000, "task_type": "extraction"}), "too few")


def test_a_base_that_is_good_already_is_left_alone() -> None:
    made = about({"n_examples": 800, "task_type": "classification"}, base_score=0.96, zero_shot_score=0.96)
    assert made.method == "zero_shot"
    assert "scores 0.96 (0.91 to 1.01): stop here" in said(made, "stop here")
    assert not said(about({"n_examples": 800}, base_score=0.4), "stop here")


def test_a_problem_of_form_asks_for_a_schema() -> None:
    assert "0.25" in said(about({"n_examples": 100, "task_type": "extraction"}, format_gap=0.25), "use a schema")
    maybe_none = about({"n_examples": 100, "task_type": "extraction"}, format_gap=0.05)
    assert not said(maybe_none, "use a schema")
    assert not said(about({"n_examples": 100, "task_type": "extraction"}, format_gap=-0.1), "use a schema")


def test_missing_facts_ask_for_retrieval_by_measurement_before_statement() -> None:
    asked = {"n_examples": 300, "task_type": "question_answering"}
    assert "0.20" in said(about(asked, closed_book_score=0.2, oracle_score=0.7), "Retrieve")
    assert not said(about(asked | {"needs_new_knowledge": 1.0}, closed_book_score=0.68, oracle_score=0.7), "facts are missing")
    assert said(about(asked | {"needs_new_knowledge": 0.8}), "80%")
    assert "none were given" in said(about(asked | {"needs_new_knowledge": 0.8, "corpus_tokens": 0}), "80%")
    assert said(about(asked, answers_in_documents=0.7, answers_by_chance=0.1), "70%")
    held = {"answers_in_documents": 0.9, "answers_by_chance": 0.1}
    no_reader = about(asked, closed_book_score=0.0, oracle_score=0.0, **held)
    assert "train it to read" in said(no_reader, "even with the right passage")
    assert not said(about(asked, closed_book_score=0.68, oracle_score=0.7, **held), "retrieve")


def test_data_far_from_the_base_asks_for_another_base() -> None:
    far = about({"n_examples": 300, "domain_shift": 0.8}, base_score=0.1, bits_per_byte=2.4, bits_per_byte_reference=1.0)
    assert "2.40" in said(far, "take a base of that field, or pretrain further")
    assert said(about({"n_examples": 300, "domain_shift": 0.8}), "far from general text")
    terse = about({"n_examples": 300, "domain_shift": 0.15}, base_score=0.1, bits_per_byte=1.9, bits_per_byte_reference=1.2)
    assert not said(terse, "take a base of that field"), "everyday words in few words are no field of their own"
    assert not said(about({"n_examples": 300, "domain_shift": 0.8}, base_score=0.8), "take a base of that field")


@pytest.mark.parametrize(
    ("difference", "discordant", "rows"),
    [(0.10, 0.2, 155), (0.10, 0.3, 234), (0.05, 0.1, 312), (0.05, 0.2, 626), (0.05, 0.3, 940), (0.02, 0.1, 1960)],
)
def test_the_rows_an_exact_mcnemar_test_needs(difference: float, discordant: float, rows: int) -> None:
    assert rows_to_tell(difference, discordant) == pytest.approx(rows, abs=1)


def test_an_evaluation_too_small_to_tell_is_told_with_the_rows_that_would() -> None:
    made = about({"n_examples": 300, "task_type": "extraction"})
    found = {one.name: one for one in made.evidence}
    held, needed = (int(str(found[name].value)) for name in ("held_out_rows", "rows_to_tell"))
    assert held == 60
    assert f"60 rows are held out, and it takes {needed:,}, {needed - held:,} more" in said(made, "too small to tell")
    assert "McNemar" in found["rows_to_tell"].how
    assert not said(about({"n_examples": 100_000, "task_type": "extraction"}), "too small to tell")


def test_level_methods_are_said_to_be_level() -> None:
    made = about({"n_examples": 40})
    first, second = made.ranking[:2]
    assert abs(first.quality.mean - second.quality.mean) < says.LEVEL
    assert f"{first.method} and {second.method} are foretold within 2%" in said(made, "take the cheaper")


def test_how_many_more_rows_would_change_the_method_is_true() -> None:
    made = from_numbers(Stated(n_examples=40))
    more = next(one for one in made.evidence if one.name == "rows_to_label")
    sentence = said(made, "more rows and the best method becomes")
    assert sentence == f"Label {more.value} more rows and the best method becomes lora."
    assert from_numbers(Stated(n_examples=40 + int(str(more.value)))).method == "lora"


# --- what would change it


def at(stated: dict[str, Any], change: Change) -> dict[str, Any]:
    """The question with the change made."""
    value: Any = change.value
    kind = Stated.__dataclass_fields__[change.name].type
    return stated | {change.name: bool(value) if "bool" in str(kind) else round(value) if "int" in str(kind) else value}


SITUATIONS = st.fixed_dictionaries(
    {"gpu_gib": st.sampled_from([24.0, 80.0])},
    optional={
        "n_examples": st.integers(10, 20_000), "task_type": st.sampled_from(TASK_TYPES), "domain_shift": st.floats(0, 1),
        "needs_new_knowledge": st.floats(0, 1), "params_b": st.sampled_from([0.135, 1.0, 8.0]), "base_score": st.floats(0, 1),
        "latency_budget_ms": st.floats(50, 5000),
    },
)  # fmt: skip


@given(SITUATIONS)
@example({"gpu_gib": 24.0, "n_examples": 10, "latency_budget_ms": 50.0, "base_score": 0.0})  # small bases have other figures
@settings(max_examples=15, deadline=None)
def test_what_would_change_it_does_change_it(stated: dict[str, Any]) -> None:
    now = from_numbers(Stated(**stated))
    for change in now.changes:
        if change.name == "answers_in_documents":
            continue  # is measured, and cannot be stated
        then = from_numbers(Stated(**at(stated, change)))
        assert then.method == change.method != now.method, change


def test_a_base_that_would_not_fit_is_no_method_to_change_to() -> None:
    made = from_numbers(Stated(n_examples=300, task_type="extraction", params_b=8.0, gpu_gib=24.0))
    (larger,) = [one for one in made.changes if one.name == "params_b" and one.value > 8]
    assert larger.says.endswith("billion parameters instead of 8: nothing fits")


def test_thresholds_are_searched_and_not_only_stops() -> None:
    (more,) = [one for one in from_numbers(Stated(n_examples=40)).changes if one.name == "n_examples" and one.value > 40]
    stops = MOVES["n_examples"].stops
    assert more.value not in stops
    just_below = int(more.value * 0.85)
    assert from_numbers(Stated(n_examples=just_below)).method != more.method


def test_volatility_documents_budget_latency_and_memory_are_moved_too() -> None:
    stated = Stated(n_examples=900, task_type="question_answering", params_b=1.0, gpu_gib=24.0)
    names = {one.name for one in from_numbers(stated).changes}
    assert {"knowledge_changes", "answers_in_documents", "gpu_gib"} <= names


def test_a_moved_number_leaves_what_was_measured_on_its_rows() -> None:
    stated = {"n_examples": 64, "task_type": "classification", "n_classes": 4}
    made = about(stated, knn_shot_score=0.9, few_shot_score=0.5, base_score=0.45)
    assert made.method == "knn_few_shot"
    assert all(one.value > 64 for one in made.changes if one.name == "n_examples"), (
        "fewer rows do not make it worse than untried"
    )


def test_a_hundred_decisions_take_a_tenth_of_a_second() -> None:
    stated = Stated(n_examples=300, task_type="extraction", params_b=1.0, gpu_gib=24.0)
    from_numbers(stated)
    best = min(_seconds(stated) for _ in range(5))
    assert best < 0.1


def _seconds(stated: Stated) -> float:
    began = time.process_time()
    from_numbers(stated)
    return time.process_time() - began
