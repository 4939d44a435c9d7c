"""Admission: few adapters at once, fair queues, bounded waits and bounded rooms. In simulated time: nothing sleeps."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import Overloaded
from gateway.engines.admission import ALWAYS_MAY_WAIT, PATIENCE, Admission, rounds

BASE = "base"
T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Where a loop would wait for its next timer, the clock jumps there."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits, and nothing is left that could wake them"
            self.now += max(0.0, timeout)
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


def simulated(scene: Callable[[], Awaitable[T]]) -> T:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(_awaited(scene))


async def _awaited(scene: Callable[[], Awaitable[T]]) -> T:
    return await scene()


def now() -> float:
    return asyncio.get_running_loop().time()


def door(**more: int) -> Admission:
    return Admission(**{"slots": 2, "in_flight": 8, "waiting": 10_000} | more, clock=now)


async def asked(admission: Admission, name: str, answer_s: float = 1.0) -> float:
    """Asks once; returns how long it waited."""
    began = now()
    async with admission.admitted(name, needs_slot=name != BASE):
        waited = now() - began
        assert len(admission.running.keys() - {BASE}) <= admission.slots
        assert sum(admission.running.values()) == admission.total_running <= admission.in_flight
        await asyncio.sleep(answer_s)
    return waited


def empty(admission: Admission) -> bool:
    left = (
        admission.running,
        admission.waiting,
        admission._lines,
        admission._holders,
        admission._slotless,
        admission._awaiting,
    )
    return not any(left) and admission.busy == 0


def longest_wait(admission: Admission, adapters: int, place: int, answer_s: float) -> float:
    """The stated bound for the `place`-th in its queue (from 1), where `adapters` at most wait for slots at a time."""
    turns, last = divmod(place - 1, admission.turn)
    round_s = (2 * admission.turn + 1) * answer_s
    return (turns * (rounds(adapters, admission.slots) + 1) + rounds(adapters, admission.slots)) * round_s + 2 * (
        last + 1
    ) * answer_s


# the bound

arrivals = st.lists(
    st.tuples(st.floats(0, 0.5), st.sampled_from([BASE, *"abcdef"]), st.floats(0.01, 1.0)), min_size=1, max_size=150
)


@settings(max_examples=200, deadline=None)
@given(arrivals=arrivals, slots=st.integers(1, 4), spare=st.integers(1, 6), turn=st.integers(1, 5))
def test_nobody_waits_longer_than_the_stated_bound(
    arrivals: list[tuple[float, str, float]], slots: int, spare: int, turn: int
) -> None:
    async def scene() -> None:
        admission = door(slots=slots, in_flight=slots + spare, turn=turn)
        adapters = len({name for _, name, _ in arrivals} - {BASE})
        order: list[tuple[str, int]] = []

        async def one(name: str, answer_s: float, number: int) -> None:
            place = admission.waiting.get(name, 0) + 1
            began = now()
            async with admission.admitted(name, needs_slot=name != BASE):
                waited = now() - began
                order.append((name, number))
                assert len(admission.running.keys() - {BASE}) <= slots
                assert admission.total_running <= slots + spare
                if name == BASE:
                    assert waited <= 2 * place + 1e-9
                assert waited <= longest_wait(admission, adapters, place, 1.0) + 1e-9
                await asyncio.sleep(answer_s)

        async with asyncio.TaskGroup() as group:
            for number, (pause_s, name, answer_s) in enumerate(arrivals):
                await asyncio.sleep(pause_s)
                group.create_task(one(name, answer_s, number))
        for name in {name for name, _ in order}:
            numbers = [number for said, number in order if said == name]
            assert numbers == sorted(numbers), "first come, first served"
        assert empty(admission)

    simulated(scene)


@pytest.mark.parametrize("turn", [1, 4, 16])
def test_cold_adapters_are_served_under_hot_ones_whose_callers_never_pause(turn: int) -> None:
    async def scene() -> tuple[float, Counter[str]]:
        admission, answered = door(turn=turn, in_flight=16), Counter[str]()

        async def open_arrivals(name: str, every_s: float) -> None:
            async with asyncio.TaskGroup() as group:
                while now() < 300:
                    group.create_task(once(name))
                    await asyncio.sleep(every_s)

        async def once(name: str) -> None:
            await asked(admission, name)
            answered[name] += 1

        async def hot(name: str) -> None:
            while now() < 300:
                await once(name)

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(hot("hot1" if number % 2 else "hot2"))
            for name in ("hot1", "hot2"):  # the loops alone leave gaps in which a cold adapter slips through
                group.create_task(open_arrivals(name, 0.5))
            await asyncio.sleep(60)
            waits = []
            for number in range(40):
                waits.append(await asked(admission, f"cold{number % 2}"))
                await asyncio.sleep(2.5)
        return max(waits), answered

    longest, answered = simulated(scene)
    assert longest <= rounds(4, 2) * (2 * turn + 1) + 2
    if turn == 4:
        assert longest <= 12, "far below the bound, since turns overlap"
    assert min(answered["hot1"], answered["hot2"]) > 500


# fairness


def test_without_the_turns_a_cold_adapter_would_starve() -> None:
    """What the bound is worth: with turns that never end, hot arrivals keep their slots for as long as they come."""

    async def scene() -> float:
        admission = door(turn=10**9, slots=1)

        async def hot() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(400):
                    group.create_task(asked(admission, "hot"))
                    await asyncio.sleep(0.5)

        async with asyncio.TaskGroup() as group:
            group.create_task(hot())
            await asyncio.sleep(1)
            return await asked(admission, "cold")

    assert simulated(scene) > 190


def test_the_base_needs_no_slot_and_gets_its_share_of_places() -> None:
    async def scene() -> None:
        admission = door(slots=1, in_flight=4)
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(asked(admission, "hot"))
            await asyncio.sleep(0.5)
            crowd = [group.create_task(asked(admission, BASE)) for _ in range(20)]
            await asyncio.sleep(3.0)
            assert admission.running == {"hot": 2, BASE: 2}
        # two at a time, from the first hot answers' end on
        assert [round(task.result(), 3) for task in crowd[:4]] == [0.5, 0.5, 1.5, 1.5]

    simulated(scene)


def test_long_answers_take_no_more_places_than_short_ones() -> None:
    """In turns alone they would: a place that a long answer took comes back late, and then goes to either."""

    async def scene() -> None:
        admission = door(slots=1, in_flight=4)
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(asked(admission, "short", 1.0))
            for _ in range(20):
                group.create_task(asked(admission, BASE, 10.0))
            for _ in range(8):
                await asyncio.sleep(5.03)
                assert admission.running == {"short": 2, BASE: 2}

    simulated(scene)


def test_the_base_blocks_no_adapter() -> None:
    async def scene() -> float:
        admission = door(in_flight=4)
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(asked(admission, BASE))
            await asyncio.sleep(0.5)
            return await asked(admission, "bot")

    assert simulated(scene) == pytest.approx(0.5)


def test_a_free_slot_goes_to_the_longest_queue_until_somebody_was_passed_over_often_enough() -> None:
    async def scene() -> list[str]:
        admission, order = door(slots=1, in_flight=1, turn=1), []

        async def one(name: str) -> None:
            async with admission.admitted(name, needs_slot=True):
                order.append(name)
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            group.create_task(one("first"))
            await asyncio.sleep(0)
            group.create_task(one("lonely"))
            for number in range(PATIENCE + 2):
                for _ in range(2 + number):
                    group.create_task(one(f"crowd{number}"))
        return order

    order = simulated(scene)
    assert order[1] == f"crowd{PATIENCE + 1}"
    assert order.index("lonely") == 1 + PATIENCE


def test_an_adapter_nobody_waits_behind_keeps_its_slot_beyond_its_turn() -> None:
    async def scene() -> list[float]:
        admission = door(slots=1, in_flight=2, turn=2)
        return [await asked(admission, "only") for _ in range(50)]

    assert max(simulated(scene)) == 0


# bounds on the room


def test_beyond_the_room_a_request_is_refused_with_the_queues_and_a_time() -> None:
    async def scene() -> Overloaded:
        admission = door(slots=4, in_flight=2, waiting=12)
        async with asyncio.TaskGroup() as group:
            for _ in range(8):  # a rate of 2 a second to go by
                group.create_task(asked(admission, "warm"))
        async with asyncio.TaskGroup() as group:
            for name in "aabbccddaabbcc":
                group.create_task(asked(admission, name))
            await asyncio.sleep(0.5)
            assert admission.total_waiting == 12
            with pytest.raises(Overloaded) as caught:
                await asked(admission, "a")
            assert admission.total_waiting == 12
        assert empty(admission)
        return caught.value

    error = simulated(scene)
    assert "12 requests wait for this engine (at most 12 may), 2 of them for 'a', beside 2 being answered" in error.message
    assert error.retry_after_s == pytest.approx(13 / 2)
    assert error.code == "overloaded"


def test_one_hot_adapter_cannot_fill_the_room() -> None:
    async def scene() -> None:
        admission = door(in_flight=1, waiting=90)
        refused = 0

        async def hot() -> None:
            nonlocal refused
            try:
                await asked(admission, "hot", 0.01)
            except Overloaded:
                refused += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(hot())
            await asyncio.sleep(0.001)
            assert admission.waiting == {"hot": 30}, "a third of the room: as much as half of what is left"
            for name in ("cold", BASE):
                for _ in range(ALWAYS_MAY_WAIT):
                    group.create_task(asked(admission, name, 0.01))
        assert refused == 200 - 31
        assert empty(admission)

    simulated(scene)


def test_a_place_that_is_free_is_given_even_if_nobody_may_wait() -> None:
    async def scene() -> None:
        admission = door(in_flight=1, waiting=0)
        assert await asked(admission, "bot") == 0
        async with asyncio.TaskGroup() as group:
            group.create_task(asked(admission, "bot"))
            await asyncio.sleep(0.1)
            with pytest.raises(Overloaded):
                await asked(admission, "bot")
        assert empty(admission)

    simulated(scene)


# leaving

events = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "leave", "turn", "wait"]), st.integers(0, 99), st.sampled_from([BASE, *"abcd"])
    ),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(events=events, slots=st.integers(1, 3), in_flight=st.integers(1, 4), turn=st.integers(1, 3), room=st.integers(0, 20))
def test_whoever_leaves_at_whatever_moment_takes_nothing_along(
    events: list[tuple[str, int, str]], slots: int, in_flight: int, turn: int, room: int
) -> None:
    async def scene() -> None:
        admission = door(slots=slots, in_flight=in_flight, turn=turn, waiting=room)
        tasks: list[asyncio.Task[float]] = []
        for what, number, name in events:
            if what == "ask":
                tasks.append(asyncio.create_task(asked(admission, name)))
            elif what == "leave" and tasks:
                tasks[number % len(tasks)].cancel()
            elif what == "turn":
                await asyncio.sleep(0)  # one turn of the loop: grants, wakings and cancellations fall between each other
            else:
                await asyncio.sleep(0.3)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, float | Overloaded | asyncio.CancelledError) for result in results)
        assert empty(admission)

    simulated(scene)


def test_one_who_is_cancelled_in_the_very_turn_that_admits_it_passes_the_place_on() -> None:
    async def scene() -> None:
        admission = door(slots=1, in_flight=1)
        first = admission.admitted("bot", needs_slot=True)
        await first.__aenter__()
        second, third = (asyncio.create_task(asked(admission, "bot")) for _ in range(2))
        await asyncio.sleep(0)
        assert admission.waiting == {"bot": 2}
        await first.__aexit__(None, None, None)  # admits the second, whose task has not run yet
        assert admission.running == {"bot": 1}
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await third == 0
        assert empty(admission)

    simulated(scene)


def test_when_the_one_who_waited_for_a_slot_leaves_the_holder_goes_on() -> None:
    async def scene() -> None:
        admission = door(slots=1, turn=1)
        holder = admission.admitted("holder", needs_slot=True)
        await holder.__aenter__()
        other = asyncio.create_task(asked(admission, "other"))
        await asyncio.sleep(0)
        more = asyncio.create_task(asked(admission, "holder"))
        await asyncio.sleep(0.1)
        assert admission.waiting == {"other": 1, "holder": 1}
        other.cancel()
        assert await more == pytest.approx(0.1)
        await holder.__aexit__(None, None, None)
        assert empty(admission)

    simulated(scene)


def test_a_failed_answer_gives_its_place_back() -> None:
    async def scene() -> None:
        admission = door()
        with pytest.raises(RuntimeError):
            async with admission.admitted("bot", needs_slot=True):
                raise RuntimeError("the engine went away")
        assert empty(admission)

    simulated(scene)


# cost


@pytest.mark.parametrize("names", [1, 10_000])
def test_a_request_costs_the_same_however_many_wait(names: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in lines looked at, with ten thousand waiting: in one queue, or in ten thousand."""
    looks = 0

    def counted(of: Callable[[Admission], Any]) -> Callable[[Admission], Any]:
        def look(self: Admission) -> Any:
            nonlocal looks
            looks += len(self._holders)
            return of(self)

        return look

    for name in ("_make_room", "_admissible"):
        monkeypatch.setattr(Admission, name, counted(getattr(Admission, name)))

    async def scene() -> int:
        admission = door(slots=4, in_flight=8, waiting=40_000)
        tasks = [asyncio.create_task(asked(admission, f"bot{number % names}", 0.001)) for number in range(10_000)]
        await asyncio.sleep(0)
        assert admission.total_waiting >= 10_000 - 8
        heap = len(admission._longest)
        await asyncio.gather(*tasks)
        assert empty(admission)
        return heap

    heap = simulated(scene)
    # each request comes, begins and goes; each time, up to two passes over four slots
    assert looks <= 10_000 * 3 * 2 * 4
    assert heap <= 64 + 4 * 10_000
