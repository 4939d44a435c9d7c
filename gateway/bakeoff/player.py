"""Plays arms for real: makes the draft, gives it a throwaway name, asks that name the frozen rows through the gateway.

What was played before, here or in another bake-off on this home, is read. Knows no plan: it plays what it is told to.
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.conversation import Example
from adapters.data.dataset import dataset
from adapters.errors import Interrupted, InvalidInput
from adapters.evaluation.metrics import METRICS
from adapters.registry import file_digest
from adapters.tuning.recipe import Recipe, to_json
from advisor.bakeoff.arms import without_a_chance
from advisor.bakeoff.contract import Cell, OutOfTime, Unplayable
from advisor.bakeoff.playing import UNTAUGHT
from advisor.candidates import CANDIDATES
from gateway.bakeoff import cells
from gateway.bakeoff.asking import Asker, Said
from gateway.bakeoff.making import Made, make, place_run
from gateway.bakeoff.naming import named, throwaway
from gateway.bakeoff.preparing import Prepared
from gateway.bakeoff.request import FROZEN, Request, frozen_of, rows_of, write_rows
from gateway.bakeoff.searching import for_store, searchable
from gateway.db.names import Names
from gateway.db.retirement import Retirement
from gateway.settings import Settings
from gateway.tuning import as_long_as_the_engine_reads, recipe_for

SPARING = {"scored_rows": 16, "fitting_rows": 32}
"""Knobs of every run: it is the gateway that asks the frozen rows, and choosing among prompts need not be dear."""
ROWS = "rows.jsonl"

Told = Callable[[str, dict[str, Any]], None]
"""Hears the stage an arm is in, and what its run says."""


class GatewayPlayer:
    """A `Player` for a thread of its own; what it does happens in `loop`, and ends when `stopping` is set."""

    def __init__(
        self, folder: Path, request: Request, prepared: Prepared, settings: Settings, names: Names, retirement: Retirement,
        asker: Asker, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event, told: Told,
    ) -> None:  # fmt: skip
        self._folder, self._request, self._prepared, self._settings = folder, request, prepared, settings
        self._names, self._retirement, self._asker = names, retirement, asker
        self._loop, self._stopping, self._told = loop, stopping, told
        self._rows, self._frozen = rows_of(folder).examples, frozen_of(folder)
        self._facts = bases.facts(request.base_folder)
        self._documents = sorted(file_digest(source.path) for source in request.documents)

    def play(self, arm: str, rows: int, seed: int, within_s: float | None) -> Cell:
        """See `Player`. Raises Interrupted once it was asked to stop."""
        return asyncio.run_coroutine_threadsafe(
            self._unless_stopped(self._play(arm, rows, seed, within_s)), self._loop
        ).result()

    def played_before(self) -> tuple[str, ...]:
        """Arms that another bake-off has played from these very rows."""
        return tuple(arm.name for arm in self._prepared.arms if self._was_played(arm.name, self._prepared.plan.rows))

    def _was_played(self, arm: str, rows: int) -> bool:
        try:
            recipe = self._recipe(arm, rows, 0)
        except Unplayable:
            return False
        return cells.was_played(self._settings.storage_home, self._parts(recipe, self._taught(arm, rows)))

    def _taught(self, arm: str, rows: int) -> Sequence[Example]:
        return [] if arm == UNTAUGHT else self._rows[:rows]

    async def _unless_stopped(self, work: Any) -> Cell:
        playing, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((playing, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not playing.done():
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            raise Interrupted("the bake-off was asked to stop; started again, it goes on where it was")
        found: Cell = playing.result()
        return found

    async def _play(self, arm: str, rows: int, seed: int, within_s: float | None) -> Cell:
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                return await self._cell(arm, rows, seed, began)
        except TimeoutError:
            raise OutOfTime(f"it had not ended after {within_s:.0f} s, when the time was up", spent_s=within_s or 0.0) from None
        except Unplayable as out:
            raise Unplayable(out.message, spent_s=time.monotonic() - began, goes_on=out.goes_on) from out

    async def _cell(self, arm: str, rows: int, seed: int, began: float) -> Cell:
        why = without_a_chance(arm, rows, has_documents=bool(self._request.documents))
        if why is not None:
            raise Unplayable(why)
        taught = self._taught(arm, rows)
        recipe = await asyncio.to_thread(self._recipe, arm, rows, seed)
        place = cells.place(self._settings.storage_home, self._parts(recipe, taught))
        found = cells.played(place)
        if found is not None:
            return dataclasses.replace(found, arm=arm, rows=rows, seed=seed, draft=str(place))
        made = None if arm == UNTAUGHT else await self._made(place, recipe, taught)
        name = self._request.base if made is None else throwaway(self._folder.name, arm, rows, seed)
        async with self._answering(made, name):
            self._told("asking", {})
            asked = time.monotonic()
            said = await self._asker.ask(name, self._frozen.examples, self._prepared.answer_tokens)
        cell = Cell(
            arm, rows, seed, self._values(said), 0.0 if made is None else made.seconds, time.monotonic() - asked,
            statistics.fmean(one.prompt_tokens for one in said), time.monotonic() - began,
            None if made is None else made.validation, str(place),
        )  # fmt: skip
        cells.keep_played(place, cell)
        return cell

    def _recipe(self, arm: str, rows: int, seed: int) -> Recipe:
        candidate = CANDIDATES[arm]
        knobs = {**candidate.knobs, **SPARING, "seed": seed}
        try:
            recipe = recipe_for(candidate.method, rows, self._facts, knobs)
            return as_long_as_the_engine_reads(recipe, self._settings, knobs)
        except InvalidInput as wrong:
            raise Unplayable(wrong.message) from wrong

    def _parts(self, recipe: Recipe, taught: Sequence[Example]) -> dict[str, Any]:
        """All that a cell's score follows from."""
        searches = "rag" in recipe.method
        return {
            "recipe": to_json(recipe), "rows": dataset(taught).fingerprint, "frozen": self._frozen.fingerprint,
            "base": self._facts.digest, "documents": self._documents if searches else [], "engine": self._settings.engine_kind,
            "answer_tokens": self._prepared.answer_tokens, "name": self._request.base,
        }  # fmt: skip

    async def _made(self, place: Path, recipe: Recipe, taught: Sequence[Example]) -> Made:
        self._told("making", {})
        if not (place / ROWS).is_file():
            write_rows(place / ROWS, taught)
        run = await asyncio.to_thread(
            place_run, place, self._request, recipe, self._settings, place / ROWS, self._folder / FROZEN
        )
        return await make(run, self._settings, self._folder.name, lambda event: self._told("making", event))

    @asynccontextmanager
    async def _answering(self, made: Made | None, name: str) -> AsyncIterator[None]:
        if made is None:
            yield
            return
        draft = for_store(made.draft, self._request.store)
        if draft.retrieval is not None:
            await searchable(self._settings, self._request, made.run, made.chunking)
        async with named(self._names, self._retirement, draft, made.drafts, name):
            yield

    def _values(self, said: Sequence[Said]) -> tuple[float, ...]:
        rate = METRICS[self._prepared.metric]
        pairs = zip(said, self._frozen.examples, strict=True)
        return tuple(0.0 if one.error else rate(one.text, row.answer) for one, row in pairs)
