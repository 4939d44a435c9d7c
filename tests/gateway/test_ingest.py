"""Ingest: what was accepted becomes searchable once and whole, whatever is killed, and whatever is in the files."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from adapters import embedded
from adapters.errors import InvalidInput
from adapters.retrieval.generation import Generation
from gateway.db.database import open_database
from gateway.db.ingest import IngestRows
from gateway.db.stores import StoreRows
from gateway.engines.sockets import socket_path
from gateway.files import FileStore
from gateway.stores.ingest import Ingest
from gateway.stores.places import Places
from gateway.stores.records import Included, NewFile, Status, Store, StoreFile
from gateway.stores.tidying import alone
from gateway.stores.workers import Workers
from tests.flows.serving import wait_gone
from tests.gateway.conftest import Gateway, Home, eventually, gateway_on

TENANT = "default"


async def until(holds: Callable[[], bool]) -> None:
    """What is waited for is done by ingest, which goes on meanwhile."""
    await asyncio.to_thread(eventually, holds, 30.0)


@dataclass
class Child:
    """An encoder child as ingest sees it: somebody who says who it is."""

    encoder: str = "odd"

    async def about(self) -> Child:
        return self

    async def ready(self) -> None:
        return


class Desk:
    """Ingest with the odd worker, without a gateway around it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = open_database(f"sqlite:///{root}/graft.db")
        self.rows, self.ingest_rows = StoreRows(self.database), IngestRows(self.database)
        self.files, self.places = FileStore(root / "files"), Places(root / "stores")
        self.ingest: Ingest | None = None

    @asynccontextmanager
    async def at_work(self, *, encoder: str = "odd", silence_s: float = 60.0) -> AsyncIterator[Ingest]:
        argv = (sys.executable, "-m", "tests.gateway.odd_worker", str(self.root), str(embedded.encoder_folder()))
        workers = Workers(lambda: argv, log_file=self.root / "ingest.log", silence_s=silence_s)
        self.ingest = Ingest(self.ingest_rows, self.files, self.places, Child(encoder), workers, exact_up_to=1000)
        running = asyncio.create_task(self.ingest.run())
        try:
            yield self.ingest
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def store(self) -> Store:
        return self.rows.create(TENANT, [], most_files=10, name="", description=None, labels=None, expires_after_days=None)

    def put_in(self, store: Store, name: str, content: bytes) -> str:
        file = self.files.add(io.BytesIO(content), filename=name, purpose="assistants")
        new = NewFile(file.id, file.filename, file.sha256, None, 100, 0, None)
        self.rows.attach(store, [new], most_files=10_000)
        return file.id

    def generation(self, store: Store) -> Generation | None:
        current = self.rows.get(TENANT, store.id).generation
        return None if current is None else Generation.open(self.places.generation(store.id, current))

    async def settled(self, store: Store) -> dict[str, StoreFile]:
        """The files by name, once none of them waits and the index is what it should be."""
        await until(lambda: store.id not in self.ingest_rows.unsettled(None))
        return {file.filename: file for file in self.ingest_rows.held(store.id)}

    def status(self, store: Store, file_id: str) -> Status:
        return self.rows.file(store, file_id).status


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_file_that_ends_its_reader_fails_alone_after_a_second_try(desk: Desk) -> None:
    store = desk.store()
    kinds = {name: desk.put_in(store, name, b"some text") for name in ("a.txt", "b.crash", "c.once", "d.eat", "e.bug", "f.txt")}

    async def run() -> None:
        async with desk.at_work():
            await desk.settled(store)

    asyncio.run(run())
    ended = {name: desk.rows.file(store, file_id) for name, file_id in kinds.items()}
    assert [name for name, file in ended.items() if file.status == "completed"] == ["a.txt", "c.once", "f.txt"]
    reasons = {name: file.error["message"] for name, file in ended.items() if file.error}
    assert reasons["b.crash"] == "reading it ended the process that read it: it crashed (SIGSEGV)"
    assert reasons["d.eat"] == "reading it takes more than 0.5 GiB of memory"
    assert reasons["e.bug"] == "reading it failed (ZeroDivisionError: a bug of the parser)"
    generation = desk.generation(store)
    assert generation is not None
    assert set(generation.files) == {kinds[name] for name in ("a.txt", "c.once", "f.txt")}


def test_a_file_that_is_never_read_to_its_end_fails_in_time(desk: Desk) -> None:
    store = desk.store()
    hangs, reads = desk.put_in(store, "a.hang", b"some text"), desk.put_in(store, "b.txt", b"other text")

    async def run() -> None:
        async with desk.at_work(silence_s=1.0):
            await desk.settled(store)

    asyncio.run(run())
    assert desk.status(store, reads) == "completed"
    failed = desk.rows.file(store, hangs)
    assert failed.error == {
        "code": "invalid_file",
        "message": "reading it ended the process that read it: it gave no sign of life for 1 s",
    }


def test_files_that_come_one_by_one_share_generations(desk: Desk) -> None:
    store, number = desk.store(), 200

    async def run() -> None:
        async with desk.at_work() as ingest:
            for n in range(number):
                await asyncio.to_thread(desk.put_in, store, f"{n}.txt", f"note {n}".encode())
                ingest.wake()
            await desk.settled(store)

    asyncio.run(run())
    generation = desk.generation(store)
    assert generation is not None
    assert len(generation.files) == number
    assert int(generation.folder.name) < number / 5


def test_a_file_taken_out_while_it_is_read_never_appears(desk: Desk) -> None:
    store = desk.store()
    stays = desk.put_in(store, "stays.txt", b"some text")

    async def run() -> None:
        async with desk.at_work() as ingest:
            await desk.settled(store)
            goes = desk.put_in(store, "goes.slow", b"slow text")
            ingest.wake()
            await until(lambda: (desk.root / "reading").exists())
            desk.rows.detach(store, goes)
            late = desk.put_in(store, "late.txt", b"late text")
            ingest.wake()
            held = await desk.settled(store)
            assert set(held) == {"stays.txt", "late.txt"}
            generation = desk.generation(store)
            assert generation is not None
            assert set(generation.files) == {stays, late}

    asyncio.run(run())


def test_what_is_called_off_between_building_and_publishing_is_left_out_of_searches(desk: Desk) -> None:
    store = desk.store()
    gone, kept = desk.put_in(store, "gone.txt", b"a"), desk.put_in(store, "kept.txt", b"b")
    held = desk.ingest_rows.held(store.id)
    number = desk.ingest_rows.begin(store.id)
    assert number is not None
    desk.rows.detach(store, gone)
    again = desk.files.get(gone)
    desk.rows.attach(store, [NewFile(gone, again.filename, again.sha256, None, 100, 0, None)], most_files=10)
    assert desk.ingest_rows.publish(store.id, number, "odd", [Included(f.number, f.file_id, 1, 1) for f in held])
    shelf = desk.rows.shelf(store)
    assert (set(shelf.files), shelf.removed) == ({kept}, {gone}), "put in again, it is another stay: its own index is to come"
    assert store.id in desk.ingest_rows.unsettled(None)


def test_only_the_last_to_begin_a_generation_may_publish_one(desk: Desk) -> None:
    store = desk.store()
    first, second = desk.ingest_rows.begin(store.id), desk.ingest_rows.begin(store.id)
    assert first is not None
    assert second is not None
    assert not desk.ingest_rows.publish(store.id, first, "odd", [])
    assert desk.ingest_rows.publish(store.id, second, "odd", [])


def test_another_encoder_encodes_every_file_anew(desk: Desk) -> None:
    store = desk.store()
    desk.put_in(store, "a.txt", b"some text")

    async def run() -> None:
        async with desk.at_work():
            await desk.settled(store)
        async with desk.at_work(encoder="other") as ingest:
            ingest.reencode("other")
            await until(lambda: desk.rows.get(TENANT, store.id).encoder == "other")

    asyncio.run(run())
    generation = desk.generation(store)
    assert generation is not None
    assert generation.encoder_id == "other"


def test_a_store_holds_so_many_files_and_a_lock_keeps_two_gateways_apart(desk: Desk) -> None:
    store = desk.store()
    desk.put_in(store, "a.txt", b"some text")
    file = desk.files.add(io.BytesIO(b"more"), filename="b.txt", purpose="assistants")
    with pytest.raises(InvalidInput, match="holds 1 files at most; this one has 1, and 1 are to come"):
        desk.rows.attach(store, [NewFile(file.id, "b.txt", file.sha256, None, 100, 0, None)], most_files=1)
    assert [one.filename for one in desk.ingest_rows.held(store.id)] == ["a.txt"]
    with alone(desk.places, store.id) as first, alone(desk.places, store.id) as second:
        assert (first, second) == (True, False)
    with alone(desk.places, store.id) as again:
        assert again


def test_expired_files_leave_their_stores_and_expired_stores_their_disk(desk: Desk) -> None:
    store, over = desk.store(), desk.store()
    stays, goes = (
        desk.put_in(store, "stays.txt", b"some text"),
        desk.files.add(io.BytesIO(b"short-lived"), filename="goes.txt", purpose="assistants"),
    )
    desk.rows.attach(store, [NewFile(goes.id, "goes.txt", goes.sha256, time.time() + 5, 100, 0, None)], most_files=10)
    desk.put_in(over, "a.txt", b"some text")

    async def run() -> None:
        async with desk.at_work():
            assert set(await desk.settled(store)) == {"stays.txt", "goes.txt"}
            await desk.settled(over)
        desk.rows.modify(over, expires_after_days=1, last_active_at=time.time() - 86_401)
        late = IngestRows(desk.database, clock=lambda: time.time() + 5)
        assert late.sweep() == 1
        async with desk.at_work():
            assert set(await desk.settled(store)) == {"stays.txt"}
            await until(lambda: not desk.places.store(over.id).exists())

    asyncio.run(run())
    generation = desk.generation(store)
    assert generation is not None
    assert set(generation.files) == {stays}
    assert desk.rows.get(TENANT, over.id).is_expired, "the row stays, to say why nothing is found"


def test_nothing_is_left_of_what_no_store_needs(desk: Desk) -> None:
    store, dead = desk.store(), desk.store()
    file_id = desk.put_in(store, "a.txt", b"some text")
    desk.put_in(store, "b.txt", b"other text")
    desk.put_in(dead, "a.txt", b"some text")

    async def run() -> None:
        async with desk.at_work() as ingest:
            await desk.settled(store)
            await desk.settled(dead)
            desk.rows.detach(store, file_id)
            (desk.places.generations(store.id) / ".incoming-torn").mkdir()
            ingest.wake()
            await desk.settled(store)
            await until(lambda: len(list(desk.places.all_prepared(store.id).iterdir())) == 1)
        desk.rows.remove(dead)
        async with desk.at_work():  # as after a kill between the row's end and the folder's
            await until(lambda: not desk.places.store(dead.id).exists())

    asyncio.run(run())
    assert not (desk.places.generations(store.id) / ".incoming-torn").exists()


# with everything real, and kill -9


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home", tmp_path / "made")


FILES = 90


def words(n: int) -> bytes:
    return f"# Note {n}\n\nThe code of locker {n} is code{n}x, and its key hangs on hook {n * 7}.\n".encode()


def fill(client: openai.OpenAI) -> str:
    """A store with one searchable file, and a batch of many more on its way into it."""
    store = client.vector_stores.create(name="lockers")
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("first.md", b"# First\n\nThis was here before."))
    ids = [client.files.create(file=(f"{n}.md", words(n)), purpose="assistants").id for n in range(FILES)]
    client.vector_stores.file_batches.create(store.id, file_ids=ids)
    return store.id


def prepared(gateway: Gateway, store_id: str) -> dict[str, int]:
    """Every prepared file with its inode: the same after a restart means that it was not made again."""
    folder = gateway.settings.stores / store_id / "prepared"
    return {path.name: path.stat().st_ino for path in folder.iterdir() if not path.name.startswith(".")}


def workers_of(gateway: Gateway) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"gateway.stores.worker" in line and os.fsencode(socket_path(gateway.settings, "encoder")) in line:
                found.append(int(entry.name))
    return found


@contextmanager
def asked_all_the_time(gateway: Gateway, store_id: str) -> Iterator[None]:
    """Somebody searches while the block runs, and always finds the one file that was there before."""
    done, answers, failures = threading.Event(), list[int](), list[str]()

    def ask() -> None:
        client = gateway.openai()
        while not done.is_set():
            try:
                page = client.vector_stores.search(store_id, query="This was here before", max_num_results=1)
                answers.append(len(page.data))
                failures.extend(hit.filename for hit in page.data if hit.filename != "first.md")
            except openai.APIStatusError as error:
                failures.append(str(error))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        done.set()
        asker.join()
    assert failures == []
    assert len(answers) > 5
    assert set(answers) == {1}


def test_whatever_is_killed_nothing_is_lost_or_made_twice_and_searches_go_on(home: Home) -> None:
    with gateway_on(home) as gateway:
        store_id = fill(gateway.openai())
        with asked_all_the_time(gateway, store_id):
            eventually(lambda: len(prepared(gateway, store_id)) > FILES // 6, 60)
            for pid in workers_of(gateway):
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: len(prepared(gateway, store_id)) > FILES // 3, 60)
            os.kill(int(encoder_pid(gateway).read_text()), signal.SIGKILL)
            eventually(lambda: len(prepared(gateway, store_id)) > FILES // 2, 60)
        encoder = int(encoder_pid(gateway).read_text())
        os.killpg(gateway.process.pid, signal.SIGKILL)
        gateway.process.wait()
        gateway.socket.unlink()
        wait_gone(encoder)
    before = prepared(gateway, store_id)
    assert len(before) < FILES + 1, "it was killed in the middle"
    with gateway_on(home) as gateway:
        client = gateway.openai()
        first = client.vector_stores.search(store_id, query="what was here before?", max_num_results=1)
        assert first.data[0].filename == "first.md", "the old index answers while the new one is made"
        eventually(lambda: client.vector_stores.retrieve(store_id).file_counts.in_progress == 0, 120)
        counts = client.vector_stores.retrieve(store_id).file_counts
        assert (counts.completed, counts.total) == (FILES + 1, FILES + 1)
        for n in range(0, FILES, 7):
            page = client.vector_stores.search(store_id, query=f"code{n}x", max_num_results=5)
            holders = [hit.filename for hit in page.data if f"code{n}x" in hit.content[0].text]
            assert holders == [f"{n}.md"], "found, and once"
        after = prepared(gateway, store_id)
        assert len(after) == FILES + 1
        assert before.items() <= after.items(), "what was prepared was not prepared again"
        assert int(encoder_pid(gateway).read_text()) != encoder
    assert not socket_path(gateway.settings, "encoder").exists()


def encoder_pid(gateway: Gateway) -> Path:
    return socket_path(gateway.settings, "encoder").with_suffix(".pid")
