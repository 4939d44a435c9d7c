"""The encoder child and what is asked of it: batches, searches, chosen shots, encoders elsewhere; how it starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters.embedded import encoder_folder
from adapters.errors import Conflict, GraftError, InvalidInput, NotFound, Unavailable
from adapters.prompting.pool import write_pool
from adapters.prompts import Selection, Shot
from adapters.retrieval.chunks import Chunking, counter
from adapters.retrieval.encoder import Encoder, identity
from adapters.retrieval.generation import build
from adapters.retrieval.passes import Passes, Tokenized
from adapters.retrieval.prepared import prepare
from gateway import settings as settings_table
from gateway.retrieval.batching import PASS_COSTS, SLICE_TOKENS, Batching, _Wanted, plan
from gateway.retrieval.cache import AROUND_BYTES, VectorCache, digest_of
from gateway.retrieval.client import ChildClient, encode
from gateway.retrieval.contract import Known
from gateway.retrieval.retriever import Retriever
from gateway.retrieval.wire import About, ChooseReply, ChooseRequest, EncodeRequest, SearchReply, SearchRequest, raised, told
from tests.gateway.conftest import eventually

T = TypeVar("T")

NEARLY = 0.999
"""Cosine to what sentence-transformers gives: the child computes in bf16 where the processor does."""


class Held:
    """An encoder whose passes wait until the test lets them; a text's vector is its length, in one number."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.may_go, self.began = threading.Semaphore(0), threading.Semaphore(0)
        self.fails = False

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        return [Tokenized(tuple(range(min(len(text), 100))), len(text)) for text in texts]

    def encode(self, batch: Sequence[Tokenized]) -> NDArray[np.float32]:
        self.passes.append([one.count for one in batch])
        self.began.release()
        self.may_go.acquire()
        if self.fails:
            raise ValueError("no memory")
        return np.array([[one.count] for one in batch], dtype=np.float32)

    async def until_a_pass_began(self) -> None:
        assert await asyncio.to_thread(self.began.acquire, True, 5)


@asynccontextmanager
async def batching_on(held: Held, cache_mib: int = 1) -> AsyncIterator[Batching]:
    batching = Batching(held, About("held", "held", 1, 100), VectorCache(cache_mib))
    work = asyncio.create_task(batching.work())
    try:
        yield batching
    finally:
        for _ in range(100):
            held.may_go.release()  # a pass that still waits would keep its thread, and this process with it
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def ask(batching: Batching, *texts: str, bulk: bool = False, cut: bool = True) -> asyncio.Task[list[Known]]:
    return asyncio.create_task(batching.encode(texts, bulk=bulk, cut=cut))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


def read(batching: Batching) -> int:
    """Single texts that have been tokenized, and wait for a pass."""
    return len(batching._single.read)


def played(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


@played
async def test_texts_that_come_while_a_pass_runs_go_through_the_next_one_together() -> None:
    held = Held()
    async with batching_on(held) as batching:
        first = ask(batching, "a")
        await held.until_a_pass_began()
        rest = [ask(batching, "b" * length) for length in range(2, 12)]
        await until(lambda: read(batching) == 10)
        held.may_go.release()
        held.may_go.release()
        found = await asyncio.gather(first, *rest)
    assert [float(known.vector[0]) for (known,) in found] == list(range(1, 12))
    assert [len(each) for each in held.passes] == [1, 10]


@played
async def test_a_single_text_waits_for_one_slice_of_the_bulk_before_it() -> None:
    held = Held()
    bulk_texts = [f"{number:090}" for number in range(200)]  # 18,000 tokens
    async with batching_on(held) as batching:
        bulk = ask(batching, *bulk_texts, bulk=True)
        await held.until_a_pass_began()
        single = ask(batching, "now")
        await until(lambda: read(batching) == 1)
        held.may_go.release()
        held.may_go.release()
        (known,) = await asyncio.wait_for(single, 5)
        assert not bulk.done()
        for _ in range(20):
            held.may_go.release()
        assert len(await bulk) == 200
    assert known.vector[0] == 3
    assert held.passes[1] == [3]
    assert all(sum(each) <= SLICE_TOKENS for each in held.passes)


@played
async def test_a_text_that_several_wait_for_is_encoded_once() -> None:
    held = Held()
    async with batching_on(held) as batching:
        asked = [ask(batching, "same", "same"), ask(batching, "same")]
        await held.until_a_pass_began()
        asked.append(ask(batching, "same"))
        await until(lambda: [one.callers for one in batching._single.wanted.values()] == [3])
        held.may_go.release()
        assert [len(found) for found in await asyncio.gather(*asked)] == [2, 1, 1]
    assert held.passes == [[4]]


@played
async def test_a_text_that_was_encoded_before_is_remembered() -> None:
    held = Held()
    async with batching_on(held) as batching:
        held.may_go.release()
        first = await ask(batching, "again")
        second = await ask(batching, "again", bulk=True)
    assert held.passes == [[5]]
    assert first == second


@played
async def test_a_text_that_nobody_waits_for_any_more_is_not_begun() -> None:
    held = Held()
    async with batching_on(held) as batching:
        first = ask(batching, "a")
        await held.until_a_pass_began()
        left, stays = ask(batching, "bb", "ccc"), ask(batching, "ccc")
        await until(lambda: read(batching) == 2)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        held.may_go.release()
        held.may_go.release()
        await asyncio.gather(first, stays)
    assert held.passes == [[1], [3]]


@played
async def test_a_pass_that_fails_tells_those_who_wait_for_it_and_the_next_one_works() -> None:
    held = Held()
    async with batching_on(held) as batching:
        held.fails = True
        held.may_go.release()
        with pytest.raises(ValueError, match="no memory"):
            await ask(batching, "a")
        held.fails = False
        held.may_go.release()
        assert len(await ask(batching, "a")) == 1


@played
async def test_a_text_beyond_the_window_is_refused_before_anything_of_its_request_is_encoded() -> None:
    held = Held()
    async with batching_on(held) as batching:
        first = ask(batching, "a")
        await held.until_a_pass_began()
        with pytest.raises(InvalidInput, match=r"input\[1\] has 101 tokens, and the encoder reads 100"):
            await ask(batching, "fine", "x" * 101, cut=False)
        held.may_go.release()
        await first
    assert held.passes == [[1]]


@given(st.lists(st.integers(1, 512), max_size=300))
@settings(max_examples=50, deadline=None)
def test_passes_hold_every_text_once_within_their_bound_and_with_little_padding(lengths: list[int]) -> None:
    async def planned() -> list[list[_Wanted]]:
        return plan([_Wanted(b"", "", tokens=Tokenized(range(length), length)) for length in lengths])

    passes = [[len(one.tokens.ids) for one in each] for each in asyncio.run(planned())]
    assert sorted(length for each in passes for length in each) == sorted(lengths)
    assert all(max(each) * len(each) <= max(SLICE_TOKENS, max(each)) for each in passes)
    assert all(max(each) * len(each) - sum(each) <= PASS_COSTS for each in passes)
    costs = sum(max(each) * len(each) + PASS_COSTS for each in passes)
    assert costs <= sum(lengths) + len(lengths) * PASS_COSTS  # never worse than one by one


def test_the_cache_keeps_to_its_bound_and_forgets_what_was_used_least() -> None:
    cache, vector = VectorCache(1), np.zeros(384, dtype=np.float32)
    room = 2**20 // (vector.nbytes + AROUND_BYTES)
    digests = [digest_of("e", str(number)) for number in range(room + 1)]
    for digest in digests[:-1]:
        cache.put(digest, Known(vector, 1))
    assert cache.get(digests[0]) is not None  # used, so the second is now the oldest
    cache.put(digests[-1], Known(vector, 1))
    assert len(cache) == room
    assert cache.get(digests[1]) is None
    assert cache.get(digests[0]) is not None


def test_two_encoders_share_no_vector() -> None:
    assert digest_of("one", "text") != digest_of("another", "text")


@pytest.mark.parametrize("kind", [InvalidInput, NotFound, Conflict, GraftError])
def test_an_error_comes_over_the_socket_as_what_it_was(kind: type[GraftError]) -> None:
    error = raised(told(kind("why", param="field", code="word")))
    assert (type(error), error.message, error.param, error.code) == (kind, "why", "field", "word")


# ---- a child with the real encoder


@pytest.fixture(scope="module")
def plain() -> Encoder:
    return Encoder(encoder_folder())


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    socket = tmp_path_factory.mktemp("child") / "e.sock"
    argv = [sys.executable, "-m", "gateway.retrieval.child", "--uds", str(socket), "--encoder", str(encoder_folder())]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    yield socket
    process.terminate()
    process.wait(10)


def asked(child: Path, question: Callable[[ChildClient], Awaitable[T]]) -> T:
    async def run() -> T:
        client = ChildClient(child)
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_worker_waits_for_a_child_that_is_starting(child: Path, plain: Encoder) -> None:
    found = encode(child, ["a question", "another one"], patience_s=60)
    assert (np.sum(found.vectors * plain.encode(["a question", "another one"]), axis=1) > NEARLY).all()
    assert found.encoder == identity(encoder_folder())


@pytest.mark.parametrize(("fast", "least"), [(False, 1 - 1e-6), (True, 0.999)])
def test_passes_give_what_sentence_transformers_gives_and_in_bf16_nearly(plain: Encoder, fast: bool, least: float) -> None:
    passes = Passes(Encoder(encoder_folder()), fast=fast)
    texts = ["one", "another text, which is longer", "Ünïcödé 🙂", "long " * 300]
    cosines = np.sum(passes.encode(passes.tokenize(texts)) * plain.encode(texts), axis=1)
    assert (cosines > least).all()


def test_vectors_do_not_depend_on_what_else_is_in_the_batch(child: Path, plain: Encoder) -> None:
    texts = [f"{'word ' * (number % 90)} text {number}" for number in range(200)]
    found = encode(child, texts, patience_s=60)
    assert (np.sum(found.vectors * plain.encode(texts), axis=1) > NEARLY).all()
    assert found.tokens == sum(each.read + each.unread for each in plain.counted(texts))


PASSAGES = {
    "cats": "Cats sleep for most of the day and hunt at dusk.",
    "trains": "The night train from Vienna to Venice leaves at ten.",
    "bread": "Sourdough bread needs flour, water, salt and a day of patience.",
}


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory, plain: Encoder) -> Path:
    root, files = tmp_path_factory.mktemp("store"), {}
    for name, text in PASSAGES.items():
        (root / f"{name}.txt").write_text(text)
        prepare(root / f"{name}.txt", f"{name}.txt", root / name, Chunking(), counter(encoder_folder()), plain.encode)
        files[name] = root / name
    build(root / "1", files, identity(encoder_folder()))
    return root / "1"


def found_files(child: Path, generation: Path, *queries: str, **more: Any) -> list[list[str]]:
    request = SearchRequest(str(generation), list(queries), more.pop("limit", 3), **more)
    reply = asked(child, lambda client: client.read("/search", request, SearchReply))
    return [[found.file for found in each] for each in reply.results]


def test_each_query_finds_its_passage_first(child: Path, generation: Path) -> None:
    found = found_files(child, generation, "When do pets hunt?", "How do I travel to Italy by rail?")
    assert [each[0] for each in found] == ["cats", "trains"]


def test_a_search_leaves_out_what_may_not_be_found(child: Path, generation: Path) -> None:
    query = "When do pets hunt?"
    assert "cats" not in found_files(child, generation, query, without=["cats"])[0]
    assert found_files(child, generation, query, allowed=["bread"]) == [["bread"]]
    assert found_files(child, generation, query, limit=1) == [["cats"]]


def test_a_generation_that_is_gone_is_not_found(child: Path, generation: Path) -> None:
    with pytest.raises(NotFound, match="no generation"):
        found_files(child, generation.with_name("7"), "x")


def test_a_generation_of_another_encoder_is_a_conflict_that_names_the_setting(
    child: Path, generation: Path, tmp_path: Path
) -> None:
    build(tmp_path / "1", {"cats": generation.parent / "cats"}, "another")
    with pytest.raises(Conflict, match=r"retrieval\.encoder"):
        found_files(child, tmp_path / "1", "x")


def test_to_rank_again_without_a_reranker_is_refused(child: Path, generation: Path) -> None:
    with pytest.raises(InvalidInput, match="reranker"):
        found_files(child, generation, "x", rerank=True)


SHOTS = [
    Shot("Where do cats live?", "animals"),
    Shot("When does the train leave?", "travel"),
    Shot("How long to knead?", "food"),
]


@pytest.mark.parametrize(
    ("strategy", "nearest"), [("knn", "travel"), ("mmr", "travel"), ("bm25", "travel"), ("fixed", "travel")]
)
def test_shots_are_chosen_for_the_question(child: Path, plain: Encoder, tmp_path: Path, strategy: str, nearest: str) -> None:
    digest = write_pool(tmp_path / "pool", SHOTS, plain.encode, encoder=identity(encoder_folder()))
    request = ChooseRequest(str(tmp_path / "pool"), "At what time does my train leave?", Selection(strategy, 2, digest))
    shots = asked(child, lambda client: client.read("/choose", request, ChooseReply)).shots
    assert len(shots) == 2
    assert shots[-1].assistant == nearest


def test_a_pool_without_vectors_serves_selectors_that_need_none(child: Path, tmp_path: Path) -> None:
    digest = write_pool(tmp_path / "pool", SHOTS)

    def choose(strategy: str) -> list[Shot]:
        request = ChooseRequest(str(tmp_path / "pool"), "train?", Selection(strategy, 1, digest))
        return asked(child, lambda client: client.read("/choose", request, ChooseReply)).shots

    assert len(choose("random")) == 1
    with pytest.raises(InvalidInput, match="needs vectors"):
        choose("knn")


# ---- the process


def retriever_on(home: Path, **variables: str) -> Retriever:
    return Retriever(settings_table.load(environment={"GRAFT_STORAGE_HOME": str(home), **variables}))


async def kept(retriever: Retriever, use: Callable[[Retriever], Awaitable[T]]) -> T:
    await retriever.start()
    try:
        return await use(retriever)
    finally:
        await retriever.stop()


def has_torch(pid: int | None) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_an_encoder_that_is_not_there_is_told_to_the_first_who_asks(tmp_path: Path) -> None:
    retriever = retriever_on(tmp_path, GRAFT_RETRIEVAL_ENCODER=str(tmp_path / "nothing"))
    with pytest.raises(InvalidInput, match=r"retrieval\.encoder"):
        asyncio.run(kept(retriever, lambda retriever: retriever.encode(["x"])))


def test_after_it_has_stopped_nothing_is_started(tmp_path: Path) -> None:
    async def run() -> None:
        retriever = retriever_on(tmp_path)
        await kept(retriever, lambda _: asyncio.sleep(0))
        with pytest.raises(Unavailable):
            await retriever.encode(["x"])

    asyncio.run(run())


# ---- an encoder elsewhere


class Vllm:
    """A pooling server's replies as vLLM gives them, with MiniLM's vectors, three times as long."""

    def __init__(self, plain: Encoder) -> None:
        self.passes, self.requests = Passes(plain), list[dict[str, Any]]()

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "org/minilm", "object": "model", "max_model_len": 256}]})

    async def embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        tokens = self.passes.tokenize(body["input"])
        if body.get("truncate_prompt_tokens") != -1 and any(each.count > 256 for each in tokens):
            said = "This model's maximum context length is 256 tokens. However, you requested 402 tokens."
            return web.json_response(
                {"error": {"message": said, "type": "BadRequestError", "param": None, "code": 400}}, status=400
            )
        rows = (3 * self.passes.encode(tokens)).tolist()
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        used = sum(each.count for each in tokens)
        usage = {"prompt_tokens": used, "total_tokens": used, "completion_tokens": 0}
        return web.json_response({"id": "embd-1", "object": "list", "model": "org/minilm", "data": data[::-1], "usage": usage})


@asynccontextmanager
async def vllm_on(vllm: Vllm) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/v1/models", vllm.models), web.post("/v1/embeddings", vllm.embeddings)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def test_the_first_who_ask_start_one_child_together_and_stopping_ends_it(tmp_path: Path, plain: Encoder) -> None:
    async def use(retriever: Retriever) -> int:
        assert retriever.pid is None
        found = await asyncio.gather(*(retriever.encode([f"text {number}"]) for number in range(8)))
        assert {each.width for each in found} == {384}
        assert await retriever.width() == 384
        assert retriever.pid is not None
        return retriever.pid

    async def run() -> tuple[Retriever, int]:
        async with vllm_on(Vllm(plain)) as url:
            retriever = retriever_on(tmp_path, GRAFT_RETRIEVAL_ENCODER=url)
            return retriever, await kept(retriever, use)

    retriever, pid = asyncio.run(run())
    assert not Path(f"/proc/{pid}").exists()
    assert not retriever.socket.exists()
    assert len((tmp_path / "logs" / "encoder.log").read_text().split("Traceback")) == 1


def test_a_vllm_pooling_server_can_be_the_encoder_by_one_line_of_settings(tmp_path: Path, plain: Encoder) -> None:
    vllm, texts = Vllm(plain), [f"text number {number}" for number in range(300)]

    async def use(retriever: Retriever) -> None:
        found = await retriever.encode(texts, bulk=True)
        assert (np.sum(found.vectors * plain.encode(texts), axis=1) > NEARLY).all()
        assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
        assert found.tokens == sum(each.read for each in plain.counted(texts))
        assert found.encoder == "served:org/minilm"
        before = len(vllm.requests)
        await retriever.encode(texts[:3])
        assert len(vllm.requests) == before  # remembered
        assert len((await retriever.encode(["word " * 400])).vectors) == 1
        with pytest.raises(InvalidInput, match="maximum context length is 256"):
            await retriever.encode(["word " * 400], cut=False)
        assert has_torch(os.getpid())
        assert not has_torch(retriever.pid), "a child that asks elsewhere needs none"

    async def run() -> None:
        async with vllm_on(vllm) as url:
            await kept(retriever_on(tmp_path, GRAFT_RETRIEVAL_ENCODER=url), use)

    asyncio.run(run())


def test_a_server_out_of_reach_is_told_at_once_and_asked_again_by_the_next(tmp_path: Path, plain: Encoder) -> None:
    vllm = Vllm(plain)

    async def run() -> None:
        async with vllm_on(vllm) as url:
            pass  # an address where nobody listens any more

        async def use(retriever: Retriever) -> None:
            with pytest.raises(Unavailable, match="does not answer"):
                await asyncio.wait_for(retriever.encode(["x"]), 30)
            app = web.Application()
            app.add_routes([web.get("/v1/models", vllm.models), web.post("/v1/embeddings", vllm.embeddings)])
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", int(url.rpartition(":")[2])).start()
            assert len((await retriever.encode(["x"])).vectors) == 1
            await runner.cleanup()

        await kept(retriever_on(tmp_path, GRAFT_RETRIEVAL_ENCODER=url), use)

    asyncio.run(run())


def test_a_child_alone_ends_at_a_signal_and_leaves_no_work(child: Path) -> None:
    """Its requests are cancelled, not waited for."""
    argv = [
        sys.executable,
        "-m",
        "gateway.retrieval.child",
        "--uds",
        str(child.with_name("b.sock")),
        "--encoder",
        "http://127.0.0.1:9",
    ]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    eventually(child.with_name("b.sock").exists, 30)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(10) == 0


def test_raw_ids_are_read_where_the_encoder_is_and_refused_where_it_is_not_the_vocabulary(child: Path) -> None:
    by_ids = asked(child, lambda client: client.encode(EncodeRequest([[101, 7592, 102]])))
    by_text = encode(child, ["hello"])
    assert np.allclose(by_ids.vectors, by_text.vectors, atol=1e-6)
