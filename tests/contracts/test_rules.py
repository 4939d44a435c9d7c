"""Every row of the tables of rules keeps the contract, and all together they give sane advice whatever the numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.methods.table import METHODS as MADE
from adapters.tuning.shapes import typical_shape
from advisor.advice import Advice, advise, from_numbers
from advisor.candidates import CANDIDATES, INTO_WEIGHTS, METHODS, SUPERVISED, TRAINED
from advisor.evidence import Evidence, by_name
from advisor.ranking import Ranked, complete, confidence, decide, rank
from advisor.reason import Reason, because
from advisor.rules.contract import Vote
from advisor.rules.table import NEVER, REMARKS, RISKS, RULES
from advisor.stated import TASK_TYPES, Stated

NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "n_examples": st.integers(0, 10_000_000),
    "task_type": st.sampled_from(TASK_TYPES),
    "domain_shift": st.floats(0, 1),
    "needs_new_knowledge": st.floats(0, 1),
    "knowledge_changes": st.booleans(),
    "tuned_without_passages": st.booleans(),
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

SHARES = (
    "zero_shot_score",
    "zero_shot_choices_score",
    "few_shot_score",
    "knn_shot_score",
    "linear_probe_cv_score",
    "knn_answer_score",
    "closed_book_score",
    "oracle_score",
    "retrieved_score",
    "answers_in_documents",
    "answers_by_chance",
    "unknown_share",
    "volatile_share",
    "contradicting_share",
    "leakage_share",
)
MEASURED: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(SHARES, st.floats(0, 1)),
    "format_gap": st.floats(-0.5, 1),
    "few_shot_slope": st.floats(-0.3, 0.3),
    "bits_per_byte": st.floats(0.3, 6),
    "bits_per_byte_reference": st.floats(0.5, 1.5),
    "answer_nats_few_shot": st.floats(0, 10),
    "answer_words": st.floats(1, 300),
    "fewest_per_class": st.integers(1, 50),
    "examples_per_class": st.floats(0.2, 5000),
    "n_classes": st.integers(2, 500),
}
measurements = st.fixed_dictionaries({}, optional=MEASURED)

quick = settings(max_examples=40, deadline=None)


def advice(situation: dict[str, Any], **changed: Any) -> Advice:
    # a stated memory, so that nothing hangs on the machine the test runs on
    return from_numbers(Stated(**{"gpu_gib": 80.0} | situation | changed))


@dataclasses.dataclass
class Decided:
    ranking: list[Ranked]

    @property
    def method(self) -> str:
        return self.ranking[0].method


def advice_on(situation: dict[str, Any], measured: dict[str, Any]) -> Decided:
    """On anything stated and anything measured, on 64 rows; without what would change it, which takes longest."""
    stated = Stated(**{"gpu_gib": 80.0} | situation)
    facts = None if stated.params_b is None else typical_shape(stated.params_b)
    found = [*stated.evidence(), *(Evidence(name, value, "share", "measured", 64) for name, value in measured.items())]
    return Decided(rank(decide(complete(by_name(found), facts))))


def row(made: Advice | Decided, method: str) -> Ranked:
    return next(one for one in made.ranking if one.method == method)


# --- reasons


def test_a_reason_cannot_be_made_without_the_evidence_it_quotes() -> None:
    with pytest.raises(ValueError, match="needs evidence"):
        Reason("tuning is best", ())
    with pytest.raises(ValueError, match="needs evidence"):
        because({}, "{n_examples} rows")
    with pytest.raises(ValueError, match="speaks of params_b"):
        because(by_name(Stated(n_examples=3).evidence()), "{n_examples} rows on a base of {params_b}")
    unknown = by_name([Evidence("n_examples", None, "rows", "not known")])
    with pytest.raises(ValueError, match="no evidence"):
        because(unknown, "{n_examples} rows")
    with pytest.raises(TypeError):
        Vote("lora", 1.0)  # type: ignore[call-arg]


def test_a_reason_says_the_evidence_as_it_is() -> None:
    found = by_name([Evidence("domain_shift", 0.4, "share", "measured", 500, (0.3, 0.5))])
    assert str(because(found, "domain shift {domain_shift:.2f}")) == "domain shift 0.40 (0.30 to 0.50)"


def ordinary() -> dict[str, Evidence]:
    stated = Stated(n_examples=500, params_b=1.0, gpu_gib=24.0, latency_budget_ms=900.0, queries_per_day=1e6, tenants=3)
    return complete(by_name(stated.evidence()), typical_shape(1.0))


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_silent_without_evidence_or_has_a_reason_for_every_vote(name: str) -> None:
    assert RULES[name]({}) == []
    for vote in RULES[name](ordinary()):
        assert vote.method in METHODS
        assert str(vote.reason)
        assert math.isfinite(vote.points)


@pytest.mark.parametrize("name", [*NEVER, *RISKS, *REMARKS])
def test_bars_warnings_and_remarks_are_silent_without_evidence(name: str) -> None:
    for table in (NEVER, RISKS, REMARKS):
        if name in table:
            assert table[name]({}) == []
            assert all(one.method in METHODS and str(one.reason) for one in table[name](ordinary()))


@pytest.mark.parametrize("rule", [*RULES.values(), *NEVER.values(), *RISKS.values(), *REMARKS.values()])
def test_a_rule_names_where_it_comes_from(rule: Any) -> None:
    assert rule.__doc__


# --- whatever the numbers


@given(situations, measurements)
@quick
def test_every_method_that_applies_is_ranked_once_and_in_order(situation: dict[str, Any], measured: dict[str, Any]) -> None:
    made = advice_on(situation, measured)
    ranked = [one.method for one in made.ranking]
    applies = set(METHODS) - ({"head"} if situation.get("task_type", "classification") != "classification" else set())
    assert len(ranked) == len(set(ranked))
    assert set(ranked) == applies
    scores = [one.score for one in made.ranking]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert 0 < confidence(made.ranking) < 1
    assert all(one.reasons for one in made.ranking)


@given(situations, measurements)
@quick
def test_probabilities_of_being_best_sum_to_one_and_scores_lie_in_their_intervals(
    situation: dict[str, Any], measured: dict[str, Any]
) -> None:
    made = advice_on(situation, measured)
    assert math.isclose(sum(one.p_best for one in made.ranking), 1.0, abs_tol=0.002)
    for one in made.ranking:
        low, high = one.quality.interval
        assert 0 <= low < high <= 1
        assert low <= one.quality.mean <= high


@given(situations, measurements)
@quick
def test_what_is_recommended_fits_unless_nothing_does(situation: dict[str, Any], measured: dict[str, Any]) -> None:
    made = advice_on(situation, measured)
    fits = [one.fits for one in made.ranking]
    assert fits[0] is not False or not any(fits)
    assert fits == sorted(fits, key=lambda one: one is False), "what does not fit comes last"
    assert all(one.p_best == 0 for one in made.ranking if one.fits is False and fits[0] is not False)


@given(situations, st.integers(0, 10_000_000), st.integers(0, 10_000_000), st.integers(2, 500))
@quick
def test_more_examples_never_speak_against_lora(situation: dict[str, Any], one: int, other: int, classes: int) -> None:
    situation = situation | ({"n_classes": classes} if situation.get("task_type") == "classification" else {})
    fewer, more = (row(advice_on(situation | {"n_examples": n}, {}), "lora") for n in sorted((one, other)))
    assert fewer.quality.mean <= more.quality.mean + 1e-9
    assert fewer.barred or not more.barred


@given(measurements, st.integers(10, 1_000_000), st.integers(10, 1_000_000))
@quick
def test_more_examples_never_speak_against_lora_with_measurements_either(
    measured: dict[str, Any], one: int, other: int
) -> None:
    measured = {name: value for name, value in measured.items() if name not in ("examples_per_class", "n_classes")}
    fewer, more = (row(advice_on({"n_examples": n}, measured), "lora") for n in sorted((one, other)))
    assert fewer.quality.centre <= more.quality.centre + 1e-9


@given(situations)
@quick
def test_changing_facts_never_speak_against_retrieval(situation: dict[str, Any]) -> None:
    still, changing = (advice_on(situation | {"knowledge_changes": changes}, {}) for changes in (False, True))
    assert row(still, "rag").quality.mean <= row(changing, "rag").quality.mean
    assert row(still, "lora").quality.mean >= row(changing, "lora").quality.mean


@given(situations, st.floats(0, 1), st.floats(0, 1))
@quick
def test_missing_facts_never_speak_against_retrieval(situation: dict[str, Any], one: float, other: float) -> None:
    pair = (advice_on(situation | {"needs_new_knowledge": share}, {}) for share in sorted((one, other)))
    less, more = (row(made, "rag").quality.mean for made in pair)
    assert less <= more + 1e-9


# --- what must never be advised, whatever else is known


def barred(made: Decided, methods: Any) -> bool:
    return all(row(made, one).barred and row(made, one).score == row(made, one).p_best == 0 for one in methods) and (
        made.method not in methods or all(one.barred or one.fits is False for one in made.ranking)
    )


@given(situations, measurements, st.integers(0, 999_999))
@quick
def test_pretraining_is_never_continued_on_less_than_a_million_tokens(
    situation: dict[str, Any], measured: dict[str, Any], tokens: int
) -> None:
    assert barred(advice_on(situation | {"corpus_tokens": tokens, "gpu_gib": 10_000.0}, measured), ["continued_pretraining"])


@given(situations, measurements)
@quick
def test_what_searches_documents_or_reads_raw_text_is_never_advised_where_there_are_none(
    situation: dict[str, Any], measured: dict[str, Any]
) -> None:
    measured = {name: value for name, value in measured.items() if name != "answers_in_documents"}
    made = advice_on(situation | {"corpus_tokens": 0, "gpu_gib": 10_000.0}, measured)
    assert barred(made, ["rag", "rag+lora", "continued_pretraining"])


@given(situations, measurements)
@quick
def test_passages_are_never_put_before_what_was_tuned_without_them(situation: dict[str, Any], measured: dict[str, Any]) -> None:
    assert barred(advice_on(situation | {"tuned_without_passages": True}, measured), ["rag"])


def test_tuning_for_passages_is_tuning_with_passages() -> None:
    assert MADE[CANDIDATES["rag+lora"].method].contexts is not None
    assert MADE[CANDIDATES["lora"].method].contexts is None
    made = advice({"needs_new_knowledge": 1.0, "n_examples": 2000, "params_b": 1.0})
    assert "--docs" in made.commands["rag+lora"]
    assert "--docs" not in made.commands["lora"]


@given(situations, measurements, st.floats(0.9, 1))
@quick
def test_nothing_is_trained_where_the_right_passage_saturates(
    situation: dict[str, Any], measured: dict[str, Any], oracle: float
) -> None:
    made = advice_on(situation, measured | {"oracle_score": oracle})
    assert barred(made, set(TRAINED) & {one.method for one in made.ranking})


@given(situations, measurements, st.floats(0.01, 1))
@quick
def test_changing_facts_are_never_trained_into_weights(
    situation: dict[str, Any], measured: dict[str, Any], need: float
) -> None:
    assert barred(advice_on(situation | {"knowledge_changes": True, "needs_new_knowledge": need}, measured), INTO_WEIGHTS)


def test_answers_that_are_dates_and_prices_are_not_trained_into_weights_either() -> None:
    asked = {"n_examples": 3000, "task_type": "qa_closed_book"}
    assert barred(advice_on(asked, {"volatile_share": 0.6}), INTO_WEIGHTS)
    assert not row(advice_on(asked, {"volatile_share": 0.1}), "lora").barred
    assert not row(advice_on(asked | {"knowledge_changes": False}, {"volatile_share": 0.6}), "lora").barred
    copied = asked | {"task_type": "extraction"}
    assert not row(advice_on(copied, {"volatile_share": 0.6}), "lora").barred, "a date that is copied is no fact to know"


@given(situations, measurements, st.floats(0.01, 0.999))
@quick
def test_a_tiny_base_gets_no_soft_prompt(situation: dict[str, Any], measured: dict[str, Any], size: float) -> None:
    assert barred(advice_on(situation | {"params_b": size}, measured), ["prompt_tuning"])


@given(situations, measurements, st.floats(0.05, 1.99))
@quick
def test_nothing_is_trained_on_less_than_two_rows_a_label(
    situation: dict[str, Any], measured: dict[str, Any], rows: float
) -> None:
    asked = situation | {"task_type": "classification"}
    assert barred(advice_on(asked, measured | {"examples_per_class": rows}), SUPERVISED)


@given(situations, measurements, st.integers(0, 9))
@quick
def test_nothing_is_trained_on_fewer_than_ten_rows(situation: dict[str, Any], measured: dict[str, Any], rows: int) -> None:
    made = advice_on(situation | {"n_examples": rows, "gpu_gib": 10_000.0}, measured)
    assert barred(made, set(SUPERVISED) & {one.method for one in made.ranking})


@given(situations, st.floats(0.05, 30), st.floats(1, 100))
@settings(max_examples=15, deadline=None)
def test_nothing_is_advised_that_needs_more_memory_than_there_is(situation: dict[str, Any], gib: float, size: float) -> None:
    made = advice(situation, gpu_gib=gib, params_b=size)
    first = made.ranking[0]
    assert first.memory_gib is not None
    assert first.memory_gib <= gib or (made.plan["commands"] == [] and "Nothing fits" in " ".join(made.says))


# --- findings


@pytest.mark.parametrize(
    ("situation", "method"),
    [
        ({"n_examples": 0}, "zero_shot"),
        ({"n_examples": 5}, "few_shot"),
        ({"n_examples": 30}, "few_shot"),
        ({"needs_new_knowledge": True}, "rag"),
        ({"knowledge_changes": True, "needs_new_knowledge": True, "n_examples": 2000, "params_b": 8.0}, "rag"),
        ({"n_examples": 500, "task_type": "extraction"}, "lora"),
        ({"n_examples": 240, "task_type": "classification", "n_classes": 4, "params_b": 0.135}, "head"),
        ({"n_examples": 60, "task_type": "classification", "n_classes": 10, "params_b": 0.135}, "head"),
        ({"n_examples": 600, "task_type": "classification", "n_classes": 70, "params_b": 8.0}, "knn_few_shot"),
        ({"n_examples": 1000, "base_score": 0.95}, "zero_shot"),
        ({"n_examples": 2000, "needs_new_knowledge": True, "params_b": 1.0, "task_type": "question_answering"}, "rag+lora"),
        ({"domain_shift": 0.9, "corpus_tokens": 10**10, "params_b": 8.0, "gpu_gib": 640.0}, "continued_pretraining"),
        ({"domain_shift": 0.9, "corpus_tokens": 10**10, "n_examples": 500, "params_b": 8.0, "gpu_gib": 24.0}, "lora"),
    ],
)
def test_the_findings_the_rules_were_made_from(situation: dict[str, Any], method: str) -> None:
    assert advice(situation).method == method


def test_the_profile_decides_between_a_point_of_quality_and_its_price() -> None:
    numbers = Stated(n_examples=900, task_type="extraction", params_b=8.0, gpu_gib=80.0, tokens_per_example=600.0,
                     queries_per_day=1e6)  # fmt: skip
    by_profile = {profile: from_numbers(numbers, profile=profile) for profile in ("quality", "cost", "latency")}
    price = {profile: row(made, "many_shot").score for profile, made in by_profile.items()}
    assert price["quality"] > price["cost"]
    assert price["quality"] > price["latency"]
    qualities = {row(made, "many_shot").quality.mean for made in by_profile.values()}
    assert len(qualities) == 1, "what one is worth to somebody changes, not what it scores"


def test_a_method_that_was_played_is_believed_over_every_rule() -> None:
    asked = Stated(n_examples=300, task_type="extraction", gpu_gib=80.0).evidence()
    played = [Evidence("score.zero_shot", 0.93, "share", "played", 400), Evidence("score.lora", 0.55, "share", "played", 400)]
    made = advise([*asked, *played])
    assert row(made, "zero_shot").quality.mean == pytest.approx(0.93, abs=0.02)
    assert row(made, "lora").quality.mean == pytest.approx(0.55, abs=0.03)
    assert dataclasses.asdict(row(made, "lora").quality)["how"].endswith("measured: score.lora on 400 rows")


def reading(**measured: float) -> dict[str, float]:
    """Scores of questions whose answers stand in the documents, asked of a base that cannot say them yet."""
    return {"answers_in_documents": 0.9, "answers_by_chance": 0.2, "closed_book_score": 0.0, "oracle_score": 0.0} | measured


def test_a_base_that_answers_neither_with_a_passage_nor_without_has_not_shown_what_it_knows() -> None:
    stated = {"n_examples": 400, "task_type": "question_answering", "params_b": 0.135}
    silent, told = (
        advice_on(stated, reading(unknown_share=share, oracle_score=oracle)) for share, oracle in ((0.0, 0.0), (0.0, 0.5))
    )
    assert not any("among what the base knows" in reason for reason in row(silent, "rag+lora").reasons)
    assert any("among what the base knows" in reason for reason in row(told, "rag+lora").reasons)


def test_passages_that_make_answers_likelier_speak_for_training_to_read_them_before_the_base_can_say_them() -> None:
    stated = {"n_examples": 400, "task_type": "question_answering", "params_b": 0.135}
    tells, tells_nothing = (advice_on(stated, reading(gain_nats_oracle=right, gain_nats_random=0.9)) for right in (2.1, 0.9))
    assert tells.method == "rag+lora"
    assert row(tells, "rag+lora").quality.mean > row(tells_nothing, "rag+lora").quality.mean + 0.1
    assert row(tells, "lora").quality.mean < row(tells_nothing, "lora").quality.mean


def test_what_speaks_against_a_method_is_told_as_that() -> None:
    made = advice({"n_examples": 20, "base_score": 0.95, "params_b": 8.0, "gpu_gib": 80.0})
    assert "against it: 20 rows to train on; 100 is a usual start" in row(made, "lora").reasons
    assert "the base scores 0.95 when only prompted" in row(made, "few_shot").reasons
