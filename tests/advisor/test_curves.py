"""Learning curves: each method's own form, no further than can be known, with the errors that published curves had."""

from __future__ import annotations

import pytest

from adapters.errors import InvalidInput
from advisor.curves import Point, error, forecast

TUNED = [Point(rows, 0.9 - 1.5 * rows**-0.5) for rows in (16, 32, 64, 128)]
SHOWN = [Point(rows, 0.8 * rows**0.9 / (6 + rows**0.9)) for rows in (4, 8, 16, 32)]


def test_a_power_law_is_foretold_for_tuning() -> None:
    found = forecast("lora", TUNED, 1024)
    assert found.score == pytest.approx(0.9 - 1.5 * 1024**-0.5, abs=0.02)
    assert found.times == 8
    assert found.interval[0] < found.score < found.interval[1]


def test_examples_in_a_prompt_saturate() -> None:
    assert forecast("few_shot", SHOWN, 256).score == pytest.approx(0.8 * 256**0.9 / (6 + 256**0.9), abs=0.03)


def test_nothing_is_said_beyond_eight_times_the_rows() -> None:
    with pytest.raises(InvalidInput, match="beyond 8"):
        forecast("lora", TUNED, 1100)


def test_too_few_points_and_methods_without_a_curve_are_refused() -> None:
    with pytest.raises(InvalidInput, match="needs scores at 3"):
        forecast("lora", TUNED[:2], 256)
    with pytest.raises(InvalidInput, match="does not learn from rows"):
        forecast("rag", TUNED, 256)


def test_the_further_the_less_sure() -> None:
    assert error("tuning", 1) <= error("tuning", 3) <= error("tuning", 8)
    assert error("tuning", 3) == pytest.approx((error("tuning", 2) + error("tuning", 4)) / 2)


def test_scores_stay_scores() -> None:
    steep = [Point(rows, score) for rows, score in ((10, 0.2), (20, 0.6), (40, 0.98))]
    assert 0 <= forecast("lora", steep, 320).interval[0] <= forecast("lora", steep, 320).interval[1] <= 1
