"""/v1/vector_stores with files, file batches and search, as the `openai` client asks. Thin: the work is `gateway/stores`'s."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from litestar import Request, delete, get, post
from litestar.params import Parameter

from adapters.errors import InvalidInput
from gateway.stores.library import Stores
from gateway.stores.records import Cut, StoreFile
from gateway.stores.searching import in_turn
from gateway.stores.shown import shown_batch, shown_file, shown_hits, shown_store
from gateway.wire import vector_stores as wire
from gateway.wire.decoding import decode

STORES = "/v1/vector_stores"
STORE = STORES + "/{store_id:str}"
FILES, BATCHES = STORE + "/files", STORE + "/file_batches"
FILE, BATCH = FILES + "/{file_id:str}", BATCHES + "/{batch_id:str}"
RERANKED = ("auto", "default-2024-11-15")
POLL = {"openai-poll-after-ms": "200"}
"""Clients that wait for a file ask again after so long; without a word they wait a second."""

Asked = Request[Any, Any, Any]
Limit = Annotated[int, Parameter(ge=1, le=100)]
Order = Literal["asc", "desc"]


@post(STORES, status_code=200, summary="Create a vector store")
async def create_store(request: Asked, stores: Stores) -> wire.VectorStore:
    return shown_store(*await stores.create(decode(await request.body(), wire.CreateStore)), time.time())


@get(STORES, summary="List vector stores")
async def list_stores(
    stores: Stores, limit: Limit = 20, order: Order = "desc", after: str | None = None, before: str | None = None
) -> wire.StoreList:
    found, more = await stores.page(Cut(limit, order, after, before))
    data = [shown_store(store, counts, time.time()) for store, counts in found]
    return wire.StoreList(data, more, data[0].id if data else None, data[-1].id if data else None)


@get(STORE, summary="One vector store")
async def get_store(store_id: str, stores: Stores) -> wire.VectorStore:
    return shown_store(*await stores.get(store_id), time.time())


@post(STORE, status_code=200, summary="Modify a vector store")
async def modify_store(request: Asked, store_id: str, stores: Stores) -> wire.VectorStore:
    return shown_store(*await stores.modify(store_id, decode(await request.body(), wire.ModifyStore)), time.time())


@delete(STORE, status_code=200, summary="Delete a vector store")
async def delete_store(store_id: str, stores: Stores) -> wire.StoreDeleted:
    return wire.StoreDeleted(await stores.remove(store_id))


@post(STORE + "/search", status_code=200, summary="Search a vector store")
async def search_store(request: Asked, store_id: str, stores: Stores) -> wire.SearchPage:
    asked = decode(await request.body(), wire.Search)
    queries = [asked.query] if isinstance(asked.query, str) else asked.query
    if not all(query.strip() for query in queries):
        raise InvalidInput("a query needs words", param="query")
    if asked.rewrite_query:
        raise InvalidInput("queries are searched as they are written; leave rewrite_query out", param="rewrite_query")
    ranking = asked.ranking_options or wire.RankingOptions()
    answers = await stores.search(
        store_id, queries, limit=asked.max_num_results, filters=asked.filters, lexical_weight=ranking.lexical_weight,
        min_score=ranking.score_threshold or 0.0, rerank=_rerank(ranking, stores),
    )  # fmt: skip
    return shown_hits(queries, in_turn(answers, asked.max_num_results))


@post(FILES, status_code=200, summary="Put a file into a vector store")
async def create_file(request: Asked, store_id: str, stores: Stores) -> wire.VectorStoreFile:
    return shown_file(await stores.attach(store_id, decode(await request.body(), wire.AddFile)))


@get(FILES, summary="List the files of a vector store")
async def list_files(
    stores: Stores, store_id: str, limit: Limit = 20, order: Order = "desc", after: str | None = None,
    before: str | None = None, filter: wire.FileStatus | None = None,
) -> wire.StoreFileList:  # fmt: skip
    return _file_list(*await stores.files(store_id, Cut(limit, order, after, before), status=filter))


@get(FILE, summary="One file of a vector store", response_headers=POLL)
async def get_file(store_id: str, file_id: str, stores: Stores) -> wire.VectorStoreFile:
    return shown_file(await stores.file(store_id, file_id))


@post(FILE, status_code=200, summary="Change the attributes of a file in a vector store")
async def modify_file(request: Asked, store_id: str, file_id: str, stores: Stores) -> wire.VectorStoreFile:
    attributes = decode(await request.body(), wire.ModifyFile).attributes
    return shown_file(await stores.describe(store_id, file_id, attributes))


@get(FILE + "/content", summary="The text of a file in a vector store, as it was read")
async def get_file_content(store_id: str, file_id: str, stores: Stores) -> wire.FileContent:
    file, text = await stores.content(store_id, file_id)
    return wire.FileContent(file_id=file_id, filename=file.filename, attributes=file.attributes, data=[wire.TextPart(text)])


@delete(FILE, status_code=200, summary="Take a file out of a vector store")
async def delete_file(store_id: str, file_id: str, stores: Stores) -> wire.StoreFileDeleted:
    await stores.detach(store_id, file_id)
    return wire.StoreFileDeleted(file_id)


@post(BATCHES, status_code=200, summary="Put several files into a vector store")
async def create_batch(request: Asked, store_id: str, stores: Stores) -> wire.FileBatch:
    return shown_batch(await stores.attach_batch(store_id, decode(await request.body(), wire.AddBatch)))


@get(BATCH, summary="One batch of files", response_headers=POLL)
async def get_batch(store_id: str, batch_id: str, stores: Stores) -> wire.FileBatch:
    return shown_batch(await stores.batch(store_id, batch_id))


@post(BATCH + "/cancel", status_code=200, summary="Call off what is not done of a batch of files")
async def cancel_batch(store_id: str, batch_id: str, stores: Stores) -> wire.FileBatch:
    return shown_batch(await stores.cancel(store_id, batch_id))


@get(BATCH + "/files", summary="List the files of a batch")
async def list_batch_files(
    stores: Stores, store_id: str, batch_id: str, limit: Limit = 20, order: Order = "desc", after: str | None = None,
    before: str | None = None, filter: wire.FileStatus | None = None,
) -> wire.StoreFileList:  # fmt: skip
    return _file_list(*await stores.files(store_id, Cut(limit, order, after, before), status=filter, batch_id=batch_id))


def _file_list(files: list[StoreFile], more: bool) -> wire.StoreFileList:
    data = [shown_file(file) for file in files]
    return wire.StoreFileList(data, more, data[0].id if data else None, data[-1].id if data else None)


def _rerank(ranking: wire.RankingOptions, stores: Stores) -> bool:
    """By default where there is something to rerank with."""
    if ranking.ranker not in (None, "none", *RERANKED):
        listed = ", ".join(("none", *RERANKED))
        raise InvalidInput(f"ranker must be one of {listed}, not '{ranking.ranker}'", param="ranking_options.ranker")
    return ranking.ranker != "none" and stores.has_reranker


handlers = (
    create_store, list_stores, get_store, modify_store, delete_store, search_store, create_file, list_files, get_file,
    modify_file, get_file_content, delete_file, create_batch, get_batch, cancel_batch, list_batch_files,
)  # fmt: skip
