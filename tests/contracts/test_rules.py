"""Every row of RULES keeps the contract, and all together they give sane advice whatever the numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.tuning.shapes import typical_shape
from advisor.advice import Advice, from_numbers
from advisor.candidates import METHODS
from advisor.evidence import by_name
from advisor.ranking import complete
from advisor.rules.contract import BARRED
from advisor.rules.table import RULES
from advisor.stated import TASK_TYPES, Stated

NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "n_examples": st.integers(0, 10_000_000),
    "task_type": st.sampled_from(TASK_TYPES),
    "domain_shift": st.floats(0, 1),
    "needs_new_knowledge": st.floats(0, 1),
    "knowledge_changes": st.booleans(),
    "corpus_tokens": st.integers(0, 10**12),
    "base_score": st.floats(0, 1),
    "params_b": st.floats(0.01, 500),
    "gpu_gib": st.floats(0.5, 2000),
    "tokens_per_example": st.floats(1, 20_000),
    "max_prompt_tokens": st.integers(1, 1_000_000),
    "latency_budget_ms": st.floats(1, 60_000),
    "queries_per_day": st.floats(0, 1e9),
    "tenants": st.integers(1, 100_000),
}
situations = st.fixed_dictionaries({}, optional=NUMBERS).filter(bool)


def advice(situation: dict[str, Any], **changed: Any) -> Advice:
    # a stated memory, so that nothing hangs on the machine the test runs on
    return from_numbers(Stated(**{"gpu_gib": 80.0} | situation | changed))


def log_odds(advice: Advice) -> dict[str, float]:
    return {one.method: one.log_odds for one in advice.ranking}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_silent_without_evidence_or_has_a_reason_for_every_vote(name: str) -> None:
    for found in ({}, complete(by_name(Stated(n_examples=500, params_b=1.0, gpu_gib=24.0).evidence()), typical_shape(1.0))):
        for vote in RULES[name](found):
            assert vote.method in METHODS
            assert vote.reason
            assert math.isfinite(vote.points)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_names_where_it_comes_from(name: str) -> None:
    assert RULES[name].__doc__


@given(situations)
@settings(max_examples=150, deadline=None)
def test_every_method_that_applies_is_ranked_once_and_in_order(situation: dict[str, Any]) -> None:
    made = advice(situation)
    ranked = [one.method for one in made.ranking]
    applies = set(METHODS) - ({"head"} if situation.get("task_type", "classification") != "classification" else set())
    assert len(ranked) == len(set(ranked))
    assert set(ranked) == applies
    scores = [one.score for one in made.ranking]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert 0 < made.confidence < 1
    assert made.method == ranked[0]
    assert all(one.reasons for one in made.ranking)


@given(situations)
@settings(max_examples=150, deadline=None)
def test_what_is_recommended_fits_unless_nothing_does(situation: dict[str, Any]) -> None:
    made = advice(situation)
    fits = [one.fits for one in made.ranking]
    assert fits[0] is not False or not any(fits)
    assert fits == sorted(fits, key=lambda one: one is False), "what does not fit comes last"


@given(situations, st.integers(0, 10_000_000), st.integers(0, 10_000_000), st.integers(2, 500))
@settings(max_examples=150, deadline=None)
def test_more_examples_never_speak_against_lora(situation: dict[str, Any], one: int, other: int, classes: int) -> None:
    situation = situation | ({"n_classes": classes} if situation.get("task_type") == "classification" else {})
    fewer, more = (log_odds(advice(situation, n_examples=n))["lora"] for n in sorted((one, other)))
    assert fewer <= more + 1e-9


@given(situations)
@settings(max_examples=100, deadline=None)
def test_changing_facts_never_speak_against_retrieval(situation: dict[str, Any]) -> None:
    still, changing = (log_odds(advice(situation, knowledge_changes=changes)) for changes in (False, True))
    assert still["rag"] <= changing["rag"]
    assert still["lora"] >= changing["lora"]


@given(situations, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_missing_facts_never_speak_against_retrieval(situation: dict[str, Any], one: float, other: float) -> None:
    less, more = (log_odds(advice(situation, needs_new_knowledge=share))["rag"] for share in sorted((one, other)))
    assert less <= more + 1e-9


@given(situations, st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_nothing_is_trained_on_fewer_than_ten_rows(situation: dict[str, Any], rows: int) -> None:
    made = advice(situation, n_examples=rows, gpu_gib=10_000.0)
    assert made.method not in ("head", "prompt_tuning", "lora", "full", "rag+lora")


@given(situations, st.integers(0, 999_999))
@settings(max_examples=100, deadline=None)
def test_pretraining_is_never_continued_on_less_than_a_million_tokens(situation: dict[str, Any], tokens: int) -> None:
    assert advice(situation, corpus_tokens=tokens, gpu_gib=10_000.0).method != "continued_pretraining"


def test_nothing_is_trained_on_less_than_two_rows_a_label() -> None:
    made = advice({"n_examples": 40, "n_classes": 30, "task_type": "classification"})
    assert all(odds < BARRED / 2 for method, odds in log_odds(made).items() if method in ("lora", "head", "full", "rag+lora"))


@pytest.mark.parametrize(
    ("situation", "method"),
    [
        ({"n_examples": 0}, "zero_shot"),
        ({"n_examples": 5}, "few_shot"),
        ({"n_examples": 30}, "few_shot"),
        ({"needs_new_knowledge": True}, "rag"),
        ({"knowledge_changes": True, "needs_new_knowledge": True, "n_examples": 2000, "params_b": 8.0}, "rag"),
        ({"n_examples": 500, "task_type": "extraction"}, "lora"),
        ({"n_examples": 240, "task_type": "classification", "n_classes": 4, "params_b": 0.135}, "lora"),
        ({"n_examples": 60, "task_type": "classification", "n_classes": 10, "params_b": 0.135}, "head"),
        ({"n_examples": 1000, "base_score": 0.95}, "zero_shot"),
        ({"n_examples": 2000, "needs_new_knowledge": True, "params_b": 1.0, "task_type": "question_answering"}, "rag+lora"),
        ({"domain_shift": 0.9, "corpus_tokens": 10**10, "params_b": 8.0, "gpu_gib": 640.0}, "continued_pretraining"),
        ({"domain_shift": 0.9, "corpus_tokens": 10**10, "n_examples": 500, "params_b": 8.0, "gpu_gib": 24.0}, "lora"),
    ],
)
def test_the_findings_the_rules_were_made_from(situation: dict[str, Any], method: str) -> None:
    assert advice(situation).method == method
