"""What a person sees of a run: its curves in one line each, and how far it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.course import BLOCKS, WIDTH, blocks, course, how_far

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


@given(NUMBERS)
def test_a_line_is_never_wider_than_it_may_be_and_holds_blocks_only(values: list[float]) -> None:
    line = blocks(values)
    assert len(line) == min(len(values), WIDTH)
    assert set(line) <= set(BLOCKS)


@given(st.floats(0.1, 100), st.integers(2, 400))
def test_what_falls_is_drawn_falling(high: float, count: int) -> None:
    line = blocks([high * (count - n) / count for n in range(count)])
    assert list(line) == sorted(line, reverse=True)
    assert (line[0], line[-1]) == (BLOCKS[-1], BLOCKS[0])


def test_a_course_has_a_line_for_all_that_the_run_said() -> None:
    said = [
        {"event": "stage", "stage": "training"},
        *({"event": "step", "loss": 4.0 - n, "step": n + 1, "steps": 8, "seconds_left": 75.0 - n} for n in range(3)),
        {"event": "validation", "loss": 2.0},
    ]
    assert course(said) == [("training loss", "█▅▁", "4.000", "2.000"), ("validation loss", "▁", "2.000", "2.000")]
    assert how_far(said) == "38%, 1:13 left"
    assert how_far([*said, {"event": "stage", "stage": "scorecard"}]) == "scorecard"
    assert how_far([]) == ""
