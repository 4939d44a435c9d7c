"""Every row of POLICIES keeps the contract, and those with a home for each adapter keep it when replicas come and go."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidInput
from gateway import settings as settings_table
from gateway.engines.placing.affinity import ALWAYS_TAKEN, in_order
from gateway.engines.placing.contract import PlacementKnobs, Policy, Wanted
from gateway.engines.placing.table import POLICIES, policy

HOMING = ("affinity", "replicate")


@dataclass
class Standing:
    name: str
    busy: int = 0
    is_ready: bool = True
    held: set[str] = field(default_factory=set)

    def holds(self, engine_name: str) -> bool:
        return engine_name in self.held


def replicas(count: int) -> list[Standing]:
    return [Standing(f"smollm2-{number}") for number in range(count)]


def made(name: str, knobs: PlacementKnobs | None = None) -> Policy:
    return POLICIES[name](knobs or PlacementKnobs())


def adapter(number: int, share: float = 0.0) -> Wanted:
    return Wanted(f"bot{number}--0123456789ab", needs_adapter=True, share=share)


some = st.lists(
    st.builds(Standing, st.just(""), st.integers(0, 50), st.booleans(), st.sampled_from([set(), {"bot1--0123456789ab"}])),
    min_size=1,
    max_size=8,
)
wants = st.builds(Wanted, st.sampled_from(["bot1--0123456789ab", "bot2--0123456789ab"]), st.booleans(), st.floats(0, 1))


@pytest.mark.parametrize("name", POLICIES)
@given(offered=some, wanted=wants)
def test_it_chooses_one_of_those_offered_and_a_ready_one_if_any_is(name: str, offered: list[Standing], wanted: Wanted) -> None:
    for number, replica in enumerate(offered):
        replica.name = f"smollm2-{number}"
    chosen = made(name).choose(offered, wanted)
    assert any(chosen is replica for replica in offered)
    assert chosen.is_ready or not any(replica.is_ready for replica in offered)


@pytest.mark.parametrize("name", POLICIES)
def test_one_replica_answers_for_everything(name: str) -> None:
    (only,) = replicas(1)
    only.busy = 1000
    assert all(made(name).choose([only], wanted) is only for wanted in (adapter(1), adapter(2, 1.0), Wanted("smollm2", False)))


@pytest.mark.parametrize("name", POLICIES)
def test_the_base_is_asked_where_least_is_going_on(name: str) -> None:
    offered = replicas(3)
    offered[0].busy, offered[1].busy, offered[2].busy = 5, 2, 9
    assert made(name).choose(offered, Wanted("smollm2", needs_adapter=False, share=1.0)) is offered[1]


@pytest.mark.parametrize("name", HOMING)
def test_an_adapter_has_the_same_home_in_every_process_and_order(name: str) -> None:
    offered = replicas(5)
    homes = [made(name).choose(offered, adapter(number)).name for number in range(20)]
    assert homes == [made(name).choose(offered[::-1], adapter(number)).name for number in range(20)]
    code = (
        "from tests.contracts.test_policies import *\n"
        f"print(*(made({name!r}).choose(replicas(5), adapter(number)).name for number in range(20)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == homes


@pytest.mark.parametrize("name", HOMING)
@given(count=st.integers(2, 8), gone=st.integers(0, 7))
def test_a_replica_that_leaves_moves_only_its_own_and_one_that_joins_takes_only_for_itself(
    name: str, count: int, gone: int
) -> None:
    more = replicas(count)
    leaver = more[gone % count]
    fewer = [replica for replica in more if replica is not leaver]
    for number in range(100):
        before, after = (made(name).choose(offered, adapter(number)) for offered in (more, fewer))
        assert before is after or before is leaver


def test_homes_are_spread_evenly() -> None:
    homes = Counter(made("affinity").choose(replicas(4), adapter(number)).name for number in range(4000))
    # 1,000 each is expected, with a standard deviation of 27
    assert all(abs(found - 1000) < 5 * math.sqrt(4000 * 0.25 * 0.75) for found in homes.values())


@given(bound=st.floats(1.0, 3.0), count=st.integers(1, 8), asked=st.lists(st.integers(0, 3), max_size=200))
def test_no_replica_exceeds_its_bounded_load(bound: float, count: int, asked: list[int]) -> None:
    offered, affinity = replicas(count), made("affinity", PlacementKnobs(load_bound=bound))
    for total, number in enumerate(asked, 1):
        chosen = affinity.choose(offered, adapter(number))
        chosen.busy += 1
        assert chosen.busy <= max(ALWAYS_TAKEN, math.ceil(bound * total / count))


def test_an_adapter_whose_home_is_too_busy_goes_to_the_next_in_its_own_order() -> None:
    offered = replicas(4)
    first, second, *_ = in_order(offered, adapter(1).engine_name)
    first.busy = ALWAYS_TAKEN
    assert made("affinity").choose(offered, adapter(1)) is second


def test_a_hot_adapter_has_several_homes_and_a_cold_one_has_one() -> None:
    offered = replicas(4)
    order = in_order(offered, adapter(1).engine_name)

    def homes(share: float) -> set[str]:
        found = set()
        for replica in offered:
            replica.busy = 0
        for _ in range(8):
            chosen = made("replicate", PlacementKnobs(hot_share=0.25, load_bound=8)).choose(offered, adapter(1, share))
            chosen.busy += 1
            found.add(chosen.name)
        return found

    for share, copies in ((0.1, 1), (0.25, 1), (0.3, 2), (0.6, 3), (1.0, 4)):
        assert homes(share) == {replica.name for replica in order[:copies]}


def test_of_equally_busy_replicas_one_that_holds_the_adapter_is_chosen() -> None:
    first, second, third = offered = replicas(3)
    second.held = third.held = {adapter(1).engine_name}
    third.busy = 1
    assert made("least_busy").choose(offered, adapter(1)) is second
    first.busy, second.busy = 0, 1
    assert made("least_busy").choose(offered, adapter(1)) is first


def test_round_robin_takes_turns() -> None:
    offered, turns = replicas(3), made("round_robin")
    assert [turns.choose(offered, adapter(1)).name[-1] for _ in range(6)] == list("012012")


def test_the_settings_name_a_policy() -> None:
    assert isinstance(policy(settings_table.load(environment={})), POLICIES["affinity"])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="least_busy, round_robin"):
        policy(settings_table.load(environment={"GRAFT_PLACEMENT_POLICY": "luck"}))
