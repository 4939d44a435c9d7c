"""What passes over the encoder child's socket, and how its errors come back as the errors they were. Knows no connection."""

from __future__ import annotations

import msgspec

from adapters import errors
from adapters.errors import GraftError, Unavailable
from adapters.prompts import Selection, Shot
from adapters.retrieval.found import Found
from adapters.retrieval.fusion import LEXICAL_WEIGHT

ROWS, WIDTH, TOKENS, ENCODER = "x-rows", "x-width", "x-tokens", "x-encoder"
"""Headers beside the vectors, which are raw little-endian float32."""


class EncodeRequest(msgspec.Struct):
    texts: list[str | list[int]]
    """Each as text, or as ids of the encoder's vocabulary."""
    bulk: bool = False
    """Many texts that nobody sits and waits for: single ones go before them."""
    cut: bool = True
    """Whether a text beyond the encoder's window is cut to it; else it is refused."""


class SearchRequest(msgspec.Struct):
    generation: str
    """Its folder."""
    queries: list[str]
    limit: int
    lexical_weight: float = LEXICAL_WEIGHT
    rerank: bool = False
    allowed: list[str] | None = None
    """Ids of the only files whose passages may be found; None for all."""
    without: list[str] = []
    """Ids of files whose passages may not be found."""


class SearchReply(msgspec.Struct):
    results: list[list[Found]]
    """For each query, best first."""


class ChooseRequest(msgspec.Struct):
    pool: str
    """Its folder."""
    question: str
    selection: Selection


class ChooseReply(msgspec.Struct):
    shots: list[Shot]


class About(msgspec.Struct):
    """The encoder that a child has."""

    name: str
    encoder: str
    """Its identity: vectors of another cannot be compared with its own."""
    width: int
    window: int
    """Most tokens of a text; 0 where that is not known."""


class Failed(msgspec.Struct):
    kind: str
    message: str
    param: str | None = None
    code: str | None = None


def told(error: GraftError) -> bytes:
    kind = next(each.__name__ for each in type(error).__mro__ if each in _KINDS)
    return msgspec.json.encode(Failed(kind, error.message, error.param, error.code))


def raised(body: bytes) -> GraftError:
    """The error that `told` wrote down."""
    try:
        failed = msgspec.json.decode(body, type=Failed)
    except msgspec.DecodeError:
        return GraftError(f"the encoder failed: {body[:300].decode(errors='replace')}")
    kind = next((each for each in _KINDS if each.__name__ == failed.kind), GraftError)
    if issubclass(kind, Unavailable):
        return kind(failed.message)
    return kind(failed.message, param=failed.param, code=failed.code)


_KINDS: tuple[type[GraftError], ...] = (errors.InvalidInput, errors.NotFound, errors.Conflict, errors.Unavailable, GraftError)
