"""Heat: shares that follow what is asked for, forget what was, and cost no more for many names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.heat import Heat


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_shares_are_parts_of_all_requests() -> None:
    heat = Heat(clock=Clock())
    assert heat.share("a") == 0
    for name in "aaab":
        heat.touch(name)
    assert (heat.share("a"), heat.share("b"), heat.share("c")) == (0.75, 0.25, 0)
    assert heat.hottest(1) == ["a"]
    assert heat.hottest(9) == ["a", "b"]


def test_a_request_counts_half_after_the_half_life() -> None:
    clock = Clock()
    heat = Heat(60, clock=clock)
    heat.touch("old")
    clock.now = 60
    heat.touch("new")
    assert heat.share("new") == pytest.approx(2 / 3)
    clock.now = 600
    heat.touch("newer")
    assert heat.share("newer") > 0.99
    assert heat.hottest(1) == ["newer"]


@given(st.lists(st.tuples(st.floats(0, 1e5), st.sampled_from("abc")), min_size=1, max_size=60))
def test_it_agrees_with_the_definition_however_much_time_goes_by(asked: list[tuple[float, str]]) -> None:
    clock = Clock()
    heat, times = Heat(60, clock=clock), []
    for pause, name in asked:
        clock.now += pause
        heat.touch(name)
        times.append((clock.now, name))
    weights = {name: sum(2 ** ((at - clock.now) / 60) for at, said in times if said == name) for name in "abc"}
    for name in "abc":
        assert heat.share(name) == pytest.approx(weights[name] / sum(weights.values()), abs=1e-9)


def test_it_forgets_the_coldest_names_beyond_its_bound() -> None:
    heat = Heat(most=100, clock=Clock())
    for _ in range(50):
        heat.touch("hot")
    for number in range(10_000):
        heat.touch(f"cold{number}")
    assert len(heat) <= 100
    assert heat.hottest(1) == ["hot"]
    assert heat.share("hot") == pytest.approx(50 / 10_050)
