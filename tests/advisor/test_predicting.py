"""What is foretold of a method: rules while nothing is known, regression on what was measured, and its own score above both."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.candidates import METHODS
from advisor.evidence import Evidence, Found, by_name
from advisor.predicting import best, regression
from advisor.predicting.contract import Normal, Predicted, logit, sigmoid
from advisor.predicting.features import FEATURES, Seen, family, logit_noise, seen
from advisor.predicting.figures import Arm, Outcomes, outcomes, published
from advisor.predicting.measured import Scored, after, scored
from advisor.predicting.predict import predict


def score(name: str, value: float, n: int = 64) -> Evidence:
    return Evidence(name, value, "share", "measured", n)


def found_(*evidence: Evidence, **stated: float | str) -> Found:
    return by_name([*(Evidence(name, value, "", "stated") for name, value in stated.items()), *evidence])


def arm(**changed: object) -> Arm:
    """Of LoRA: it follows the base and the rows."""
    made = Arm(
        features=("zero", "rows"), family_z={"labels": 1.0, "short": 0.5, "long": -0.5},
        family_x=dict.fromkeys(("labels", "short", "long"), (-0.5, 8.0)),
        family_tasks={"labels": 10, "short": 10, "long": 10}, xx=((1.5, 0.0), (0.0, 4.0)), xz=(0.75, 1.6), zz=2.0,
        noise=(0.05, 0.0), inflation=1.0, tasks=30, cells=300,
    )  # fmt: skip
    return dataclasses.replace(made, **changed)  # type: ignore[arg-type]


def of_lora(found: Found, one: Arm) -> Predicted:
    figures = Outcomes("a test", {"lora": one}, 0.5, 1.645, 0.15, 1.0)
    return predict(found, METHODS, dict.fromkeys(METHODS, 0.0), published(), figures)["lora"]


# --- regression


def test_with_nothing_known_a_forecast_is_the_mean_of_the_family() -> None:
    said = regression.forecast(arm(), {}, "labels")
    assert said.mean == 1.0
    assert said.variance >= 2.0, "and as wide as methods' scores are"


def test_a_forecast_is_the_ridge_regression_on_what_is_known() -> None:
    one = arm()
    both = regression.forecast(one, {"zero": Seen(0.5, 0.05), "rows": Seen(10.0, 0.0)}, "labels")
    assert both.mean == pytest.approx(1.0 + 0.75 / 1.5 * (0.5 + 0.5) + 1.6 / 4.0 * (10 - 8), abs=1e-3)
    explained = 0.75**2 / 1.5 + 1.6**2 / 4.0
    unseen_family = regression.FAMILY_SPREAD**2 / 11
    assert both.variance == pytest.approx(2.0 - explained + unseen_family, abs=1e-3)


def test_what_is_not_known_widens_the_forecast_and_moves_it_to_the_mean() -> None:
    one = arm()
    none, some, all_ = (
        regression.forecast(one, known, "labels")
        for known in ({}, {"zero": Seen(2.0, 0.05)}, {"zero": Seen(2.0, 0.05), "rows": Seen(8.0, 0.0)})
    )
    assert none.variance > some.variance > all_.variance
    assert none.mean < some.mean == pytest.approx(all_.mean)


def test_what_was_measured_on_few_rows_weighs_less() -> None:
    few, many = (regression.forecast(arm(), {"zero": Seen(3.0, noise)}, "labels") for noise in (2.0, 0.05))
    assert 1.0 < few.mean < many.mean
    assert few.variance > many.variance


def test_a_feature_that_may_only_raise_is_not_let_lower() -> None:
    one = arm(xz=(-0.75, -1.6))
    assert regression.forecast(one, {"zero": Seen(3.0, 0.05), "rows": Seen(14.0, 0.0)}, "labels").mean == 1.0


def test_correlated_features_are_not_counted_twice() -> None:
    level = dict.fromkeys(("labels", "short", "long"), (-0.5, -0.5))
    twice = arm(features=("zero", "shots"), family_x=level, xx=((1.5, 1.49), (1.49, 1.5)), xz=(0.75, 0.75), noise=(0.05, 0.05))
    once = regression.forecast(twice, {"zero": Seen(1.0, 0.05)}, "labels")
    both = regression.forecast(twice, {"zero": Seen(1.0, 0.05), "shots": Seen(1.0, 0.05)}, "labels")
    assert both.mean == pytest.approx(once.mean, abs=0.02)


def test_a_family_that_nothing_was_learned_of_is_foretold_less_surely() -> None:
    strange = arm(family_tasks={"labels": 30, "short": 0, "long": 0})
    known, unknown = (regression.forecast(strange, {"rows": Seen(8.0, 0.0)}, kind) for kind in ("labels", "long"))
    assert unknown.variance > known.variance + 0.9


@given(st.floats(0, 1), st.floats(0, 1), st.integers(10, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_better_base_never_lowers_what_is_foretold_of_tuning_by_the_shipped_figures(
    one: float, other: float, rows: int
) -> None:
    def foretold(value: float) -> float:
        known = seen(found_(score("zero_shot_score", value), n_examples=rows))
        return regression.forecast(outcomes().arms["lora"], {**known, "zero": Seen(known["zero"].value, 0.1)}, "short").mean

    low, high = sorted((one, other))
    assert foretold(low) <= foretold(high) + 1e-9


# --- measurement


WIDE = Normal(0.0, 100.0)


def test_what_was_measured_of_a_method_counts_by_its_rows() -> None:
    few, many = (after(Normal(0.0, 1.0), scored(score("few_shot_score", 0.9, n), 0.15, 0.0)) for n in (12, 1200))
    assert few.mean < many.mean < logit(0.9) + 0.01
    assert few.variance > 5 * many.variance


@given(st.integers(0, 40), st.integers(1, 40), st.floats(-4, 4), st.floats(0.1, 9), st.floats(0, 1), st.floats(-0.5, 0.5))
@settings(max_examples=80, deadline=None)
def test_what_is_expected_after_a_score_is_as_the_whole_likelihood_has_it(
    hits: int, misses: int, mean: float, variance: float, drift: float, optimism: float
) -> None:
    """Beside the same by sums over a grid of both logits; a normal is never exactly right, least of all at nothing and all."""
    n = hits + misses
    found = after(Normal(mean, variance), Scored(hits, n, drift, optimism))
    grid = np.linspace(mean - 8 * math.sqrt(variance) - 6, mean + 8 * math.sqrt(variance) + 6, 1501)
    seen_at = grid[:, None] + optimism + drift * np.linspace(-5, 5, 41)[None, :]
    p = 1 / (1 + np.exp(-np.clip(seen_at, -40, 40)))
    likely = np.exp(hits * np.log(p) + misses * np.log(1 - p) - hits * np.log((hits + 0.5) / (n + 1))
                    - misses * np.log((misses + 0.5) / (n + 1)))  # fmt: skip
    weight = (likely * np.exp(-(np.linspace(-5, 5, 41)[None, :] ** 2) / 2)).sum(1) * np.exp(
        -((grid - mean) ** 2) / (2 * variance)
    )
    weight /= weight.sum()
    middle = float((grid * weight).sum())
    spread = math.sqrt(float(((grid - middle) ** 2 * weight).sum()))
    assert abs(found.mean - middle) < 0.35 * spread + 0.02
    assert 0.7 < math.sqrt(found.variance) / spread < 1.3


def test_twelve_of_twelve_are_believed_against_an_expectation_of_three_in_ten() -> None:
    played = after(Normal(logit(0.3), 1.0), scored(score("score.lora", 1.0, 12), 0.75, 0.4))
    assert sigmoid(played.mean) > 0.75
    probed = after(Normal(logit(0.3), 1.0), scored(score("few_shot_score", 1.0, 12), 0.75, 0.4))
    assert probed.mean < played.mean, "what was asked rows at hand flatters, and strays"


def test_none_of_a_few_is_not_never() -> None:
    assert sigmoid(after(WIDE, scored(score("zero_shot_score", 0.0, 8), 0.15, 0.0)).mean) > 0.001
    assert sigmoid(after(Normal(0.0, 4.0), scored(score("zero_shot_score", 0.0, 8), 0.15, 0.0)).mean) > 0.03
    assert sigmoid(after(Normal(0.0, 4.0), scored(score("zero_shot_score", 0.0, 800), 0.15, 0.0)).mean) < 0.011


def test_scores_that_are_not_all_or_nothing_vary_less_and_say_more() -> None:
    narrow = Evidence("few_shot_score", 0.5, "share", "measured", 24, (0.42, 0.58))
    wide = Evidence("few_shot_score", 0.5, "share", "measured", 24, (0.31, 0.69))
    assert scored(narrow, 0.0, 0.0).n == 96
    assert scored(wide, 0.0, 0.0).n == pytest.approx(26.6, abs=0.1)


def test_a_measurement_and_an_expectation_meet_by_their_precision() -> None:
    both = Normal(0.0, 1.0).times(Normal(2.0, 0.25))
    assert both.mean == pytest.approx(1.6)
    assert both.variance == pytest.approx(0.2)


def test_the_more_rows_a_score_rests_on_the_less_the_rules_say() -> None:
    def foretold(n: int) -> float:
        points = dict.fromkeys(METHODS, 0.0) | {"few_shot": 4.0}
        found = found_(score("few_shot_score", 0.3, n), task_type="extraction")
        return predict(found, METHODS, points, published(), outcomes())["few_shot"].mean

    nothing = predict(found_(task_type="extraction"), METHODS, dict.fromkeys(METHODS, 4.0), published(), outcomes())
    assert nothing["few_shot"].mean > 0.8 > foretold(6) > foretold(48) > foretold(600) > 0.28
    assert foretold(600) < 0.33


def test_what_grows_with_rows_is_moved_to_the_rows_asked_about() -> None:
    figures = Outcomes("a test", {"head": arm(features=("rows",), xx=((4.0,),), xz=(1.6,), noise=(0.0,))}, 0.5, 1.6, 0.1, 1.0)

    def head(**rows: float) -> Predicted:
        found = found_(score("linear_probe_cv_score", 0.6, 250), task_type="classification", **rows)
        return predict(found, METHODS, dict.fromkeys(METHODS, 0.0), published(), figures)["head"]

    now, later = head(n_examples=250), head(n_examples=1000, rows_measured_on=250)
    assert later.mean > now.mean + 0.05
    assert later.sd > now.sd


# --- features and families


def test_features_are_taken_from_evidence_and_missing_ones_stay_away() -> None:
    known = seen(found_(score("zero_shot_score", 0.5), n_examples=256, bits_per_byte=1.4, bits_per_byte_reference=1.0))
    assert set(known) == {"zero", "rows", "gap"}
    assert known["zero"].value == pytest.approx(0.0)
    assert known["rows"].value == 8.0
    assert known["gap"].value == pytest.approx(0.4)
    unasked = found_(Evidence("few_shot_score", None, "share", "not asked"), n_examples=256)
    assert set(seen(unasked)) == {"rows"}
    assert set(FEATURES) >= set(known)


def test_answers_have_families_by_length() -> None:
    assert family(found_(task_type="classification", answer_words=40.0)) == "labels"
    assert family(found_(task_type="generation", answer_words=3.0)) == "short"
    assert family(found_(task_type="question_answering", answer_words=60.0)) == "long"
    assert family(found_(task_type="summarization")) == "long"


def test_an_interval_tells_more_of_a_score_than_its_rows_do() -> None:
    counted = Evidence("few_shot_score", 0.5, "share", "measured", 50)
    narrow = dataclasses.replace(counted, interval=(0.45, 0.55))
    assert logit_noise(narrow) < logit_noise(counted)


def test_numbers_alone_are_foretold_by_rules_and_more_unknown_is_less_sure() -> None:
    def lora(**stated: float | str) -> Predicted:
        return of_lora(found_(**stated), arm())

    assert lora(n_examples=100.0).how == "published levels and rules"
    assert lora(n_examples=100.0).sd > lora(n_examples=100.0, task_type="extraction", domain_shift=0.2).sd
    with_probe = of_lora(found_(score("zero_shot_score", 0.4), n_examples=100.0), arm())
    assert "regression on zero, rows over 30 tasks" in with_probe.how
    assert with_probe.sd < lora(n_examples=100.0).sd


def test_a_score_of_nothing_lies_in_the_interval_of_what_is_foretold_to_score_nothing() -> None:
    low, high = Predicted("zero_shot", logit(0.0), 0.3, 0.5, 1.645, "a test").interval
    assert low == 0.0
    assert high < 0.05
    assert Predicted("lora", logit(1.0), 0.3, 0.5, 1.645, "a test").interval[1] == 1.0


# --- being best


def foretold(method: str, centre: float, sd: float = 0.3, shared: float = 0.0) -> Predicted:
    return Predicted(method, centre, sd, shared, 1.645, "a test")


def chances(*predicted: Predicted, temperature: float = 1.0, **burdens: float) -> dict[str, float]:
    named = {one.method: one for one in predicted}
    return best.probabilities(named, dict.fromkeys(named, 0.0) | burdens, temperature)


def test_equals_are_as_likely_and_the_clearly_better_is_nearly_sure() -> None:
    level = chances(foretold("lora", 0.5), foretold("head", 0.5))
    assert level["lora"] == pytest.approx(0.5, abs=0.05)
    apart = chances(foretold("lora", 1.5), foretold("head", 0.0))
    assert apart["lora"] > 0.98
    assert math.isclose(sum(apart.values()), 1.0)


def test_what_a_task_does_to_all_methods_does_not_make_them_less_comparable() -> None:
    own = chances(foretold("lora", 0.6, 0.6), foretold("head", 0.2, 0.6))
    together = chances(foretold("lora", 0.6, 0.6, 0.9), foretold("head", 0.2, 0.6, 0.9))
    assert together["lora"] > own["lora"] + 0.1


def test_a_price_is_weighed_against_the_score() -> None:
    free = chances(foretold("lora", 0.3), foretold("head", 0.2))
    dear = chances(foretold("lora", 0.3), foretold("head", 0.2), lora=0.1)
    assert free["lora"] > 0.5 > dear["lora"]


def test_a_temperature_makes_less_sure_and_keeps_the_order() -> None:
    made = foretold("lora", 0.8), foretold("head", 0.3)
    sure, calm = chances(*made), chances(*made, temperature=3.0)
    assert sure["lora"] > calm["lora"] > 0.5


def test_the_advantage_is_told_with_its_interval() -> None:
    mean, low, high = best.advantage({"lora": foretold("lora", 1.0), "head": foretold("head", 0.0)}, "lora", "head")
    assert low < mean < high
    assert mean == pytest.approx(sigmoid(1.0) - sigmoid(0.0), abs=0.03)
