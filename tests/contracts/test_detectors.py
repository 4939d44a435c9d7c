"""Every row of DETECTORS keeps the contract: Evidence with its n, the same for the same seed, sane on any sample."""

from __future__ import annotations

import math

import numpy as np
import pytest

from advisor.evidence import by_name, number
from advisor.shift.sample import Sample
from advisor.shift.table import DETECTORS


def sample(rows: int, *, middle: float = 0.0, characters_per_piece: float = 4.5, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 32))
    vectors[:, 0] += middle
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pieces = rng.integers(5, 40, rows).astype(np.float64)
    return Sample(vectors.astype(np.float32), pieces * characters_per_piece, pieces)


@pytest.fixture(params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_evidence_says_what_it_rests_on(detector: str) -> None:
    found = DETECTORS[detector](sample(40), sample(60, seed=1), 0)
    assert found
    for evidence in found:
        assert evidence.n in (40, 60)
        assert evidence.how
        assert isinstance(evidence.value, float)
        assert math.isfinite(evidence.value)


def test_the_same_seed_gives_the_same_numbers(detector: str) -> None:
    ours, theirs = sample(30, middle=1), sample(50, seed=1)
    assert DETECTORS[detector](ours, theirs, 7) == DETECTORS[detector](ours, theirs, 7)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_handful_of_rows_is_enough(detector: str, rows: int) -> None:
    for evidence in DETECTORS[detector](sample(rows), sample(20, seed=1), 0):
        assert math.isfinite(float(evidence.value or 0.0))


def test_rows_that_are_all_the_same_are_no_trouble(detector: str) -> None:
    one = sample(1).take(np.zeros(20, dtype=np.int64))
    for evidence in DETECTORS[detector](one, one, 0):
        assert math.isfinite(float(evidence.value or 0.0))


def test_distance_lies_between_0_and_1_and_grows_with_subject_and_language() -> None:
    theirs = sample(200)

    def shift(ours: Sample) -> float:
        evidence = by_name(DETECTORS["distance"](ours, theirs, 0))["domain_shift"]
        assert evidence.interval is not None
        low, high = evidence.interval
        assert 0 <= low <= float(evidence.value or 0.0) <= high <= 1
        return float(evidence.value or 0.0)

    alike = shift(sample(100, seed=2))
    assert alike < 0.1
    assert alike < shift(sample(100, seed=2, characters_per_piece=3.0)) < shift(sample(100, seed=2, characters_per_piece=1.5))
    assert alike < shift(sample(100, seed=2, middle=-3))


def test_the_permutation_test_sees_a_difference_and_seldom_one_that_is_not_there() -> None:
    theirs = sample(60)

    def p_value(ours: Sample) -> float:
        return number(by_name(DETECTORS["mmd"](ours, theirs, 0)), "shift_p_value") or 0.0

    false_alarms = sum(p_value(sample(60, seed=seed)) < 0.05 for seed in range(1, 41))
    assert false_alarms <= 7, "2 of 40 are expected at 5 %; more than 7 come once in 700 times"
    assert p_value(sample(60, middle=2, seed=5)) < 0.01
