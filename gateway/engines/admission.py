"""Who may ask one engine now, and who waits: few adapters at once, a fair queue for each, and an end to all waiting.

vLLM skips a request whose adapter finds no slot and lets others pass it for ever, so the queue has to be ours. Knows no
engine, no adapter file and no HTTP; an adapter is a name, and the base is a name that needs no slot.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count

from adapters.errors import Overloaded

TURN = 16
"""Answers that an adapter may begin before it makes room for one that waits for its slot."""
PATIENCE = 1
"""Slots that may go to longer queues before an adapter that waits for one goes first."""
ALWAYS_MAY_WAIT = 8
"""Requests of one name that may wait however full the waiting room is, while it is not full altogether."""
UNKNOWN_RETRY_S = 5.0
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
_RATE_OVER = 64
"""Answers over whose ends the rate of service is measured."""


def rounds(adapters: int, slots: int) -> int:
    """Rounds within which a waiting adapter has a slot, if `adapters` (itself included) at most wait for one at a time.

    At most PATIENCE slots go to adapters that came later, and one to each that came earlier; as many slots as adapters wait,
    or all, change hands at least once a round. A round lasts at most 2 x turn + 1 times the longest answer: `turn` answers
    begin, each at most two answers after the one before, and the last of them ends. Holds where in_flight > slots.
    """
    return math.ceil((PATIENCE + adapters) / slots)


class _Line:
    """One name: what it runs, what it holds, who waits."""

    __slots__ = ("begun", "makes_room", "name", "needs_slot", "order", "passed_before", "running", "waiting")

    def __init__(self, name: str, needs_slot: bool) -> None:
        self.name, self.needs_slot = name, needs_slot
        self.waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        """First come, first served; ordered so that who leaves the middle costs no search."""
        self.running = 0
        self.begun = 0
        """Answers begun since it got its slot."""
        self.makes_room = False
        """It begins no more, so that its slot comes free for one that waits."""
        self.order = 0
        """When it was last given something: of two that run equally many, the one given less lately goes first."""
        self.passed_before = 0
        """Slots that had been granted when it began to wait for one."""


class Admission:
    """One engine's door. Everything happens inside one event loop, between awaits, so there is no lock.

    Places (`in_flight`) go to the name that has the fewest answers under way: max-min fairness, so that no adapter blocks
    the base and the base blocks none. Slots go to the longest queue, except that an adapter passed over PATIENCE times
    goes first. While adapters wait for a slot, as many of those that have begun `turn` answers begin no more, end those
    they have (the ones soonest done first), and go back to the end. So the first in an adapter's queue waits at most
    `rounds(...)` rounds for a slot, and then two longest answers for a place; one further back needs another slot for every
    `turn` before it.
    """

    def __init__(
        self, *, slots: int, in_flight: int, waiting: int, turn: int = TURN, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`slots`: distinct adapters at once; `in_flight`: answers at once; `waiting`: requests that may wait, all told."""
        self.slots, self.in_flight, self.turn = slots, in_flight, turn
        self.most_waiting = waiting
        self.running: dict[str, int] = {}
        """Answers under way, by name; names without any are left out. To be read only."""
        self.total_running = 0
        self.total_waiting = 0
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._holders: dict[str, _Line] = {}
        self._slotless: dict[str, _Line] = {}
        self._awaiting: OrderedDict[str, _Line] = OrderedDict()
        """Names that wait for a slot, the oldest first."""
        self._longest: list[tuple[int, int, _Line]] = []
        """A heap of (-queue length, when it was so, name's line); entries that are no longer true are passed over."""
        self._granted = 0
        self._given = count(1)
        self._ends: deque[float] = deque(maxlen=_RATE_OVER)

    @property
    def busy(self) -> int:
        """Answers under way and requests waiting."""
        return self.total_running + self.total_waiting

    @property
    def waiting(self) -> Mapping[str, int]:
        """Requests that wait, by name; names without any are left out."""
        return {name: len(line.waiting) for name, line in self._lines.items() if line.waiting}

    @asynccontextmanager
    async def admitted(self, engine_name: str, *, needs_slot: bool) -> AsyncIterator[None]:
        """Returns into the block when the engine may be asked; the answer ends with the block.

        Raises Overloaded at once where too many wait already. May be cancelled at any point: nothing stays taken.
        """
        line = self._lines.get(engine_name)
        if line is None:
            line = self._lines[engine_name] = _Line(engine_name, needs_slot)
        await self._enter(line)
        try:
            yield
        finally:
            self._end(line)

    async def _enter(self, line: _Line) -> None:
        call = asyncio.get_running_loop().create_future()
        room = self.most_waiting - self.total_waiting
        # a name's share shrinks with the room that is left (dynamic thresholds, Choudhury and Hahne 1998): one hot
        # adapter alone fills a third of it, and the others always find some
        is_full = room <= 0 or len(line.waiting) >= max(ALWAYS_MAY_WAIT, room // 2)
        self._queue(line, call)
        self._go_on()
        if call.done():
            return
        if is_full:
            self._withdraw(line, call)
            raise self._overloaded(line)
        try:
            await call
        except asyncio.CancelledError:
            if call.cancelled():
                self._withdraw(line, call)
            else:  # admitted and cancelled before it could run
                self._end(line)
            raise

    def _queue(self, line: _Line, call: asyncio.Future[None]) -> None:
        line.waiting[call] = None
        self.total_waiting += 1
        if not line.needs_slot:
            if line.name not in self._slotless:
                self._slotless[line.name] = line
                line.order = next(self._given)
        elif line.name not in self._holders:
            self._want_slot(line)

    def _withdraw(self, line: _Line, call: asyncio.Future[None]) -> None:
        if call in line.waiting:
            del line.waiting[call]
            self.total_waiting -= 1
        if line.name in self._awaiting:
            if line.waiting:
                self._want_slot(line)
            else:
                del self._awaiting[line.name]
        self._go_on()  # who had to make room for this one need not any more
        self._forget_idle(line)

    def _end(self, line: _Line) -> None:
        line.running -= 1
        if line.running:
            self.running[line.name] = line.running
        else:
            del self.running[line.name]
        self.total_running -= 1
        self._ends.append(self._clock())
        self._go_on()
        self._forget_idle(line)

    def _forget_idle(self, line: _Line) -> None:
        if not line.running and not line.waiting:
            self._lines.pop(line.name, None)
            self._slotless.pop(line.name, None)

    def _go_on(self) -> None:
        """Passes slots and places on as far as they go. Costs the number of slots, not of those who wait."""
        self._make_room()
        self._pass_slots_on()
        while self.total_running < self.in_flight:
            line = min(self._admissible(), key=lambda line: (line.running, line.order), default=None)
            if line is None:
                return
            self._admit(line)
            self._make_room()  # its turn may be over with this one

    def _make_room(self) -> None:
        """Lets as many adapters make room as wait for some: more would only run empty."""
        closing = [line for line in self._holders.values() if line.makes_room]
        for line in closing[len(self._awaiting) :]:
            line.makes_room = False
        missing = len(self._awaiting) - len(closing)
        if missing > 0:
            over = [line for line in self._holders.values() if line.begun >= self.turn and not line.makes_room]
            for line in sorted(over, key=lambda line: line.running)[:missing]:
                line.makes_room = True

    def _admissible(self) -> list[_Line]:
        holding = [line for line in self._holders.values() if line.waiting and not line.makes_room]
        return holding + [line for line in self._slotless.values() if line.waiting]

    def _admit(self, line: _Line) -> None:
        call, _ = line.waiting.popitem(last=False)
        self.total_waiting -= 1
        if call.cancelled():  # its task has not run since, and will find nothing to give back
            return
        line.running += 1
        self.running[line.name] = line.running
        line.begun += 1
        line.order = next(self._given)
        self.total_running += 1
        call.set_result(None)

    def _pass_slots_on(self) -> None:
        leaving = [line for line in self._holders.values() if not line.running and (not line.waiting or line.makes_room)]
        for line in leaving:
            del self._holders[line.name]
        self._grant_slots()
        # only now, so that a slot does not go straight back to who made room
        for line in leaving:
            if line.waiting:
                self._want_slot(line)
        self._grant_slots()

    def _grant_slots(self) -> None:
        while self._awaiting and len(self._holders) < self.slots:
            line = self._next_for_slot()
            del self._awaiting[line.name]
            self._holders[line.name] = line
            self._granted += 1
            line.begun, line.makes_room, line.order = 0, False, next(self._given)

    def _next_for_slot(self) -> _Line:
        oldest = next(iter(self._awaiting.values()))
        if self._granted - oldest.passed_before >= PATIENCE:
            return oldest
        while True:
            length, _, line = heapq.heappop(self._longest)
            if self._awaiting.get(line.name) is line and len(line.waiting) == -length:
                return line

    def _want_slot(self, line: _Line) -> None:
        """Begins to wait for a slot or, if it does already, says that its queue has another length."""
        if line.name not in self._awaiting:
            self._awaiting[line.name] = line
            line.passed_before = self._granted
            line.order = next(self._given)
        heapq.heappush(self._longest, (-len(line.waiting), next(self._given), line))
        if len(self._longest) > 64 + 4 * len(self._awaiting):
            self._longest = [(-len(line.waiting), next(self._given), line) for line in self._awaiting.values()]
            heapq.heapify(self._longest)

    def _overloaded(self, line: _Line) -> Overloaded:
        retry_s = self._retry_after_s()
        return Overloaded(
            f"{self.total_waiting} requests wait for this engine (at most {self.most_waiting} may), {len(line.waiting)} of "
            f"them for '{line.name}', beside {self.total_running} being answered; try again in {math.ceil(retry_s)} s",
            retry_after_s=retry_s,
        )

    def _retry_after_s(self) -> float:
        """Seconds in which as many answers end as requests wait, at the rate of late."""
        if len(self._ends) < 2:
            return UNKNOWN_RETRY_S
        spent_s = max(self._clock() - self._ends[0], 1e-3)
        return min(_LONGEST_RETRY_S, max(_SHORTEST_RETRY_S, (self.total_waiting + 1) * spent_s / (len(self._ends) - 1)))
