"""The vector stores API as the `openai` client writes and reads it. Ranges are the hosted service's; `graft` is ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Key = Annotated[str, Meta(min_length=1, max_length=64)]
Value = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[Key, Value], Meta(max_length=16)]
Attributes = Annotated[dict[Key, Value | float | int | bool], Meta(max_length=16)]
Name = Annotated[str, Meta(max_length=256)]
Tokens = Annotated[int, Meta(ge=100, le=4096)]
StoreStatus = Literal["expired", "in_progress", "completed"]
FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]


class ExpiresAfter(msgspec.Struct, forbid_unknown_fields=True):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class StaticSizes(msgspec.Struct, forbid_unknown_fields=True):
    max_chunk_size_tokens: Tokens
    chunk_overlap_tokens: Annotated[int, Meta(ge=0)]


class StaticChunking(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="static"):
    static: StaticSizes


class AutoChunking(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="auto"):
    """As long as the encoder takes whole; the answer says how long that is."""


ChunkingStrategy = StaticChunking | AutoChunking


class CreateStore(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name | None = None
    description: Annotated[str, Meta(max_length=4096)] | None = None
    file_ids: list[str] | None = None
    chunking_strategy: ChunkingStrategy | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class ModifyStore(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is not said stays as it is."""

    name: Name | UnsetType | None = UNSET
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class AddFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class AddBatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    file_ids: list[str] | None = None
    files: list[AddFile] | None = None
    attributes: Attributes | None = None
    """Of all `file_ids`, as the chunking strategy is; each of `files` says its own."""
    chunking_strategy: ChunkingStrategy | None = None


class ModifyFile(msgspec.Struct, forbid_unknown_fields=True):
    attributes: Attributes | None


class HybridSearch(msgspec.Struct, forbid_unknown_fields=True):
    embedding_weight: Annotated[float, Meta(ge=0)]
    text_weight: Annotated[float, Meta(ge=0)]

    def __post_init__(self) -> None:
        if self.embedding_weight + self.text_weight == 0:
            raise ValueError("one of embedding_weight and text_weight must be above 0")  # decoding names the field


class RankingOptions(msgspec.Struct, forbid_unknown_fields=True):
    ranker: str | None = None
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    hybrid_search: HybridSearch | None = None

    @property
    def lexical_weight(self) -> float | None:
        """The share of the words in the fused ranking, 0 to 1; None where the caller leaves it to us."""
        weights = self.hybrid_search
        return None if weights is None else weights.text_weight / (weights.embedding_weight + weights.text_weight)


class Search(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    query: str | Annotated[list[str], Meta(min_length=1, max_length=32)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    filters: Any = None
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = None


class FileCounts(msgspec.Struct):
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class GraftStore(msgspec.Struct):
    passages: int
    generation: int | None
    """Which index answers; it rises."""


class VectorStore(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    """Unix seconds, as every time here."""
    name: str
    description: str | None
    usage_bytes: int
    file_counts: FileCounts
    status: StoreStatus
    expires_after: ExpiresAfter | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str] | None
    graft: GraftStore
    object: Literal["vector_store"] = "vector_store"


class StoreList(msgspec.Struct):
    data: list[VectorStore]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class StoreDeleted(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["vector_store.deleted"] = "vector_store.deleted"


class LastError(msgspec.Struct):
    code: str
    message: str


class GraftFile(msgspec.Struct):
    filename: str
    passages: int


class VectorStoreFile(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    vector_store_id: str
    status: FileStatus
    last_error: LastError | None
    usage_bytes: int
    attributes: dict[str, Any] | None
    chunking_strategy: StaticChunking
    graft: GraftFile
    object: Literal["vector_store.file"] = "vector_store.file"


class StoreFileList(msgspec.Struct):
    data: list[VectorStoreFile]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class StoreFileDeleted(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"


class FileBatch(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    vector_store_id: str
    status: FileStatus
    file_counts: FileCounts
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"


class TextPart(msgspec.Struct):
    text: str
    type: Literal["text"] = "text"


class FileContent(msgspec.Struct, kw_only=True):
    file_id: str
    filename: str
    attributes: dict[str, Any] | None
    data: list[TextPart]
    has_more: bool = False
    next_page: str | None = None
    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"


class GraftResult(msgspec.Struct):
    start: int
    """Of the passage in the file's text, in characters; `end` is the first that is not part of it."""
    end: int
    heading: str
    ranks: dict[str, int | None]
    """From 1: by meaning (dense), by words (lexical), both (fused), and after a closer look (reranked)."""


class SearchResult(msgspec.Struct, kw_only=True):
    file_id: str
    filename: str
    score: float
    attributes: dict[str, Any] | None
    content: list[TextPart]
    graft: GraftResult


class SearchPage(msgspec.Struct, kw_only=True):
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None
    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
