"""Makes what was put into stores searchable: rows that wait → prepared files → one generation → one transaction.

A task of the gateway; the work is done by workers and by the encoder child. What it has done is on disk and in rows, so
that whoever comes after a kill goes on where it was. Files that arrive together share a generation. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from adapters.errors import GraftError, NotFound, Unavailable
from gateway.db.ingest import IngestRows
from gateway.files import FileStore
from gateway.stores.places import Places
from gateway.stores.records import Included, StoreFile
from gateway.stores.tidying import Tidying, alone, remove_store
from gateway.stores.workers import WorkerDied, Workers

LOOK_S = 30.0
"""How often to look for what another gateway has left; what comes through this one is heard of at once."""
ELSEWHERE_S = 1.0
"""The same while another gateway is at work on a store that waits."""
SWEEP_S = 60.0
TRIES = 2
"""Workers that may die over a file."""
SHOWN_AFTER_S = 2.0
"""Files become searchable at least this often while more of them are being prepared, or after BUILDING times what the last
generation took to build, where that is longer."""
BUILDING = 4.0
PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After trouble that is no file's fault, such as a full disk; doubled each time."""

log = logging.getLogger(__name__)


class About(Protocol):
    @property
    def encoder(self) -> str: ...


class EncoderChild(Protocol):
    """As far as ingest needs it (`gateway/retrieval/retriever.py`)."""

    async def about(self) -> About: ...
    async def ready(self) -> None: ...


@dataclass(slots=True)
class _Desk:
    """One store that is being worked on."""

    store_id: str
    encoder: str
    ready: dict[int, Included] = field(default_factory=dict)
    """Prepared, by number, and not in the current generation yet."""
    since: float | None = None
    """When the first of them became ready."""
    is_looked_through: bool = False
    """Whether its completed files were looked at too: another encoder may have encoded them."""
    built_at: float = float("-inf")
    build_s: float = 0.0

    def is_due(self) -> bool:
        return self.since is not None and time.monotonic() - self.since > max(SHOWN_AFTER_S, BUILDING * self.build_s)


class Ingest:
    def __init__(
        self, rows: IngestRows, files: FileStore, places: Places, child: EncoderChild, workers: Workers, *, exact_up_to: int
    ) -> None:
        self._rows, self._files, self._places = rows, files, places
        self._child, self._workers, self._exact_up_to = child, workers, exact_up_to
        self._tidying = Tidying(places)
        self._encoder: str | None = None
        self._woken = asyncio.Event()
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._later: dict[str, tuple[float, float]] = {}
        """Stores that had trouble: when to try again, and how long that pause was."""

    def wake(self) -> None:
        """Something waits. From the event loop only."""
        self._woken.set()

    def reencode(self, encoder: str) -> None:
        """A search met vectors of another encoder than this one, which there is now. From the event loop only."""
        self._encoder = encoder
        self.wake()

    async def run(self) -> None:
        """Until cancelled."""
        sweeping = asyncio.create_task(self._sweep(), name="store sweeper")
        try:
            while True:
                self._woken.clear()
                patience_s = LOOK_S
                for store_id in await asyncio.to_thread(self._rows.unsettled, self._encoder):
                    pause_s = self._later.get(store_id, (0.0, 0.0))[0] - time.monotonic()
                    if pause_s > 0:
                        patience_s = min(patience_s, pause_s)
                    elif store_id not in self._at_work:
                        self._at_work[store_id] = asyncio.create_task(self._work_on(store_id), name=f"ingest {store_id}")
                await self._heard(patience_s)
        finally:
            tasks = [sweeping, *self._at_work.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._workers.stop()

    async def _heard(self, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):  # wait_for of 3.11 may lose a cancellation
                await self._woken.wait()
        except TimeoutError:
            return

    async def _work_on(self, store_id: str) -> None:
        pause_s = 0.0
        try:
            with alone(self._places, store_id) as is_mine:
                if is_mine:
                    await self._settle(store_id)
                else:
                    pause_s = ELSEWHERE_S
        except Exception as trouble:
            pause_s = min(LONGEST_PAUSE_S, max(PAUSE_S, 2 * self._later.get(store_id, (0.0, 0.0))[1]))
            known = isinstance(trouble, (GraftError, OSError))
            log.error("ingest of %s: %s; again in %.0f s", store_id, trouble, pause_s, exc_info=None if known else trouble)
        finally:
            del self._at_work[store_id]
            self._later.pop(store_id, None)
            if pause_s:
                self._later[store_id] = (time.monotonic() + pause_s, pause_s)
            self.wake()  # what came while it ended is still to do

    async def _settle(self, store_id: str) -> None:
        """Returns once the current generation is what the store's rows say."""
        self._encoder = (await self._child.about()).encoder
        desk = _Desk(store_id, self._encoder)
        while store_id in await asyncio.to_thread(self._rows.unsettled, desk.encoder):
            waiting = await asyncio.to_thread(self._waiting, desk)
            if waiting and not desk.is_due():
                try:
                    await self._prepare(desk, waiting)
                except ExceptionGroup as several:
                    raise several.exceptions[0] from several
                continue
            # at most a third of the time goes into building, however the files come
            await asyncio.sleep(max(0.0, desk.built_at + 2 * desk.build_s - time.monotonic()))
            if not await self._build(desk):
                break
        await asyncio.to_thread(self._tidy, desk)

    def _waiting(self, desk: _Desk) -> list[StoreFile]:
        """Files to be prepared: those in progress, and once those that another encoder has encoded."""
        files = self._rows.pending(desk.store_id)
        if not desk.is_looked_through:
            files = [
                file for file in self._rows.held(desk.store_id)
                if file.status == "in_progress" or not self._places.prepared(file, desk.encoder).is_dir()
            ]  # fmt: skip
            desk.is_looked_through = True
        return [file for file in files if file.number not in desk.ready]

    async def _prepare(self, desk: _Desk, waiting: Iterable[StoreFile]) -> None:
        """As many at once as there are workers, until all are ready or what is ready shall be shown."""
        files = iter(waiting)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers.at_once):
                group.create_task(self._prepare_from(desk, files))

    async def _prepare_from(self, desk: _Desk, files: Iterator[StoreFile]) -> None:
        for file in files:
            made = await self._prepared(desk, file)
            if made is not None:
                desk.ready[file.number] = made
                desk.since = desk.since or time.monotonic()
            if desk.is_due():
                return

    async def _prepared(self, desk: _Desk, file: StoreFile) -> Included | None:
        """None where it cannot be read, which its row then says, or is not wanted any more."""
        while await asyncio.to_thread(self._rows.is_wanted, file):
            try:
                path = await asyncio.to_thread(self._files.content, file.file_id)
            except NotFound:
                await self._fail(file, "the uploaded file was deleted")
                return None
            folder = self._places.prepared(file, desk.encoder)
            asked = {
                "path": str(path), "filename": file.filename, "folder": str(folder), "max_tokens": file.max_tokens,
                "overlap_tokens": file.overlap_tokens,
            }  # fmt: skip
            try:
                answer = await self._workers.ask({"prepare": asked})
            except WorkerDied as death:
                log.error("the worker that read %s (%s): %s", file.file_id, file.filename, death)
                if await asyncio.to_thread(self._rows.died, file) >= TRIES:
                    await self._fail(file, f"reading it ended the process that read it: {death}")
                    return None
                continue
            if "unavailable" in answer:
                await self._child.ready()
                continue
            if "failed" in answer:
                await self._fail(file, answer["failed"], code=answer["code"])
                return None
            made = _done(answer)
            return Included(file.number, file.file_id, made["usage_bytes"], made["passages"])
        return None

    async def _fail(self, file: StoreFile, reason: str, code: str = "invalid_file") -> None:
        await asyncio.to_thread(self._rows.fail, file, code, reason)

    async def _build(self, desk: _Desk) -> bool:
        """Builds and publishes what is ready; False where the store is gone or somebody else's by now."""
        began = time.monotonic()
        number = await asyncio.to_thread(self._rows.begin, desk.store_id)
        if number is None:
            return False
        included, sources, missing = await asyncio.to_thread(self._content, desk)
        if missing:  # somebody has had them cut another way meanwhile
            desk.ready.clear()
            desk.since, desk.is_looked_through = None, False
            return True
        folder = self._places.generation(desk.store_id, number)
        if included:
            asked = {"folder": str(folder), "files": {file: str(where) for file, where in sources.items()},
                     "encoder": desk.encoder, "exact_up_to": self._exact_up_to}  # fmt: skip
            _done(await self._workers.ask({"build": asked}, is_bounded=False))
        is_current = await asyncio.to_thread(self._rows.publish, desk.store_id, number, desk.encoder, included)
        desk.ready.clear()
        desk.since, desk.built_at = None, time.monotonic()
        desk.build_s = desk.built_at - began
        if is_current:
            await asyncio.to_thread(self._tidying.generations, desk.store_id, number)
        return is_current

    def _content(self, desk: _Desk) -> tuple[list[Included], dict[str, Path], bool]:
        """What a generation holds that is built now, where that lies, and whether a completed file would be missing."""
        included, sources, missing = [], {}, False
        for file in self._rows.held(desk.store_id):
            folder = self._places.prepared(file, desk.encoder)
            one = desk.ready.get(file.number)
            if one is None and file.status == "completed":
                one = Included(file.number, file.file_id, file.usage_bytes, file.passages)
            if one is not None:
                included.append(one)
                sources[file.file_id] = folder
                missing = missing or not folder.is_dir()
        return included, sources, missing

    def _tidy(self, desk: _Desk) -> None:
        known = self._rows.stores()
        if desk.store_id not in known:
            shutil.rmtree(self._places.store(desk.store_id), ignore_errors=True)
            return
        needed = [self._places.prepared(file, desk.encoder) for file in self._rows.held(desk.store_id)]
        self._tidying.torn(desk.store_id, needed)
        self._tidying.generations(desk.store_id, known[desk.store_id])

    async def _sweep(self) -> None:
        def sweep() -> None:
            self._rows.sweep()
            there = [path.name for path in self._places.root.iterdir()] if self._places.root.is_dir() else []
            known = self._rows.stores()  # after the folders were listed: a store has its row before it has its folder
            for store_id in there:
                if store_id not in known:
                    remove_store(self._places, store_id)
            for store_id, generation in known.items():
                self._tidying.generations(store_id, generation)

        while True:
            await asyncio.to_thread(sweep)
            self.wake()  # expired files are out of their stores, and shall leave the indexes
            await asyncio.sleep(SWEEP_S)


def _done(answer: dict[str, Any]) -> dict[str, Any]:
    """Raises OSError or Unavailable for trouble that is no file's."""
    if "done" in answer:
        done: dict[str, Any] = answer["done"]
        return done
    if "unavailable" in answer:
        raise Unavailable(answer["unavailable"])
    raise OSError(answer.get("trouble") or answer.get("failed") or f"a worker answered {answer}")
