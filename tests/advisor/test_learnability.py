"""What vectors can tell of the answers: linear fits against what they stand for, probes that know nothing, and curves."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.conversation import Example, Message
from advisor.evidence import Evidence, by_name, number
from advisor.learnability import learnability
from advisor.linear import left_out, logistic, numbered, separable, transferred


def clouds(rows: int, classes: int, apart: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Vectors of length 1 in 24 dimensions around one middle a class."""
    rng = np.random.default_rng(seed)
    labels = [number % classes for number in range(rows)]
    vectors = rng.normal(size=(rows, 24))
    vectors[np.arange(rows), labels] += apart
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"label {label}" for label in labels]


def rows_of(answers: list[str]) -> list[Example]:
    return [
        Example((Message("user", f"question {n}"), Message("assistant", answer)), n + 1, (1,))
        for n, answer in enumerate(answers)
    ]


def found(vectors: np.ndarray, answers: list[str], *, is_labelled: bool = True) -> dict[str, Evidence]:
    return by_name(learnability(rows_of(answers), vectors, is_labelled, of=len(answers), seed=0))


def test_a_logistic_regression_stands_at_the_minimum_of_its_loss() -> None:
    vectors, labels = clouds(60, 2, 1.0)
    wanted, x = np.array(labels) == "label 0", vectors.astype(np.float64)
    weights, bias = logistic(x, wanted, 0.01)
    chance = 1 / (1 + np.exp(-(x @ weights + bias)))
    assert np.abs(x.T @ (chance - wanted) / 60 + 0.01 * weights).max() < 1e-8
    assert abs(float((chance - wanted).mean())) < 1e-8


def test_samples_of_one_cloud_cannot_be_told_apart_and_those_of_two_can() -> None:
    same = [separable(*np.split(clouds(80, 1, 0.0, seed)[0].astype(np.float64), 2), 0.01, 5, seed) for seed in range(10)]
    assert 0.4 < np.mean([hits / of for hits, of in same]) < 0.6
    vectors = clouds(80, 2, 3.0)[0].astype(np.float64)
    hits, of = separable(vectors[::2], vectors[1::2], 0.01, 5, 0)
    assert (hits / of > 0.95, of) == (True, 80)


def test_rows_left_out_are_labelled_as_by_a_fit_without_them() -> None:
    vectors, labels = clouds(40, 4, 1.5)
    x, (wanted, classes) = vectors.astype(np.float64), numbered(labels)
    whole = left_out(x, wanted, classes)
    for row in range(40):
        others = np.setdiff1d(np.arange(40), [row])
        a = np.c_[x[others], np.ones(39)]
        weights = np.linalg.solve(a.T @ a + whole.penalty * 40 * np.eye(25), a.T @ np.eye(classes)[wanted[others]])
        assert (int((np.r_[x[row], 1] @ weights).argmax()) == wanted[row]) == whole.right[row]


def test_what_was_learned_from_some_rows_is_asked_of_the_others_only() -> None:
    vectors, labels = clouds(60, 3, 4.0)
    wanted, classes = numbered(labels)
    assert transferred(vectors.astype(np.float64), wanted, classes, np.arange(30), 0.01) > 0.9
    scrambled = np.concatenate([wanted[:30], (wanted[30:] + 1) % 3])
    assert transferred(vectors.astype(np.float64), scrambled, classes, np.arange(30), 0.01) < 0.1


def test_labels_that_lie_apart_are_learned_and_labels_by_chance_are_not() -> None:
    vectors, labels = clouds(120, 3, 4.0)
    told = found(vectors, labels)
    chance = found(vectors, [f"label {n}" for n in np.random.default_rng(1).integers(0, 3, 120)])
    for name in ("knn_cv_score", "linear_probe_cv_score"):
        assert (number(told, name) or 0) > 0.95
        assert (number(chance, name) or 0) < 0.5
        assert told[name].n == 120
        low, high = told[name].interval or (1.0, 0.0)
        assert low <= (number(told, name) or 0) <= high
    assert told["probe_rows"].value == 120


@pytest.mark.parametrize("name", ["knn_cv_score", "linear_probe_cv_score"])
def test_more_rows_teach_more(name: str) -> None:
    vectors, labels = clouds(400, 8, 2.2)
    told = found(vectors, labels)
    quarter, half, whole = (number(told, f"{name}{part}") or 0 for part in (".quarter", ".half", ""))
    assert quarter < half < whole


def test_a_row_that_asks_the_same_teaches_nothing_about_it() -> None:
    vectors, _ = clouds(40, 1, 0.0)
    twice = np.repeat(vectors[:20], 2, axis=0)
    rows = [row for one in rows_of([f"label {n % 2}" for n in range(20)]) for row in (one, one)]
    told = by_name(learnability(rows, twice, True, of=40, seed=0))
    assert told["probe_rows"].value == 20
    assert (number(told, "knn_cv_score") or 0) < 0.9


def test_other_answers_are_those_of_the_nearest_row_by_the_tasks_metric() -> None:
    vectors, labels = clouds(60, 3, 6.0)
    answers = [f"a long enough answer, which for this kind of question always ends with {label}" for label in labels]
    told = found(vectors, answers, is_labelled=False)
    assert (number(told, "knn_answer_score") or 0) > 0.95
    assert told["knn_answer_score"].how.startswith("token_f1")
    assert "knn_cv_score" not in told


def test_too_few_questions_say_so() -> None:
    vectors, labels = clouds(6, 2, 1.0)
    told = found(vectors, labels)
    assert told["knn_cv_score"].value is None
    assert "6 different questions are too few" in told["knn_cv_score"].how
