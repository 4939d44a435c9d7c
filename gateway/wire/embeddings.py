"""OpenAI's /v1/embeddings as Graft reads and writes it, vectors in base64 included. Knows no encoder."""

from __future__ import annotations

import base64
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from adapters.errors import InvalidInput

MOST_INPUTS = 2048


class EmbeddingsRequest(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    """A text or token ids, or a list of either."""
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    truncate_prompt_tokens: int | None = None
    """vLLM's: -1 cuts texts to the encoder's window, which refuses them otherwise."""


class Embedding(msgspec.Struct):
    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingsUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"


def inputs_of(request: EmbeddingsRequest) -> list[str | list[int]]:
    """Each text, or its token ids. Raises InvalidInput that names the one that is wrong."""
    said = [request.input] if isinstance(request.input, str) else request.input
    if not isinstance(request.input, str) and said and all(isinstance(each, int) for each in said):
        ids = [each for each in said if isinstance(each, int)]
        return [ids]  # one text, as token ids
    if not said:
        raise InvalidInput("input is an empty list; send at least one text", param="input")
    if len(said) > MOST_INPUTS:
        raise InvalidInput(f"input has {len(said):,} texts; send at most {MOST_INPUTS:,} with one request", param="input")
    inputs: list[str | list[int]] = []
    for index, each in enumerate(said):
        where = "input" if isinstance(request.input, str) else f"input[{index}]"
        if isinstance(each, int):
            raise InvalidInput(f"{where} is a number among texts; token ids of one text go into a list", param=where)
        if not each:
            raise InvalidInput(f"{where} is empty; there is nothing to encode", param=where)
        inputs.append(each)
    return inputs


def checked_dimensions(dimensions: int, width: int) -> int:
    if not 1 <= dimensions <= width:
        raise InvalidInput(f"dimensions must be from 1 to {width}, the encoder's width, not {dimensions}", param="dimensions")
    return dimensions


def shortened(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first `dimensions` of each row, of length 1 again; all of them for None."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    cut: NDArray[np.float32] = vectors[:, :dimensions].copy()
    cut /= np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
    return cut


def written(model: str, vectors: NDArray[np.float32], tokens: int, encoding_format: str | None) -> bytes:
    """The body of the answer. base64 is of little-endian float32, as OpenAI's clients decode it."""
    rows: list[Embedding] = [
        Embedding(
            base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding_format == "base64" else row.tolist(), index
        )
        for index, row in enumerate(vectors)
    ]
    return msgspec.json.encode(Embeddings(rows, model, EmbeddingsUsage(tokens, tokens)))
