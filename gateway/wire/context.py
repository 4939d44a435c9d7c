"""What a request brings besides its messages: documents to search, a prompt to render. Knows no store and no prompt.

In a chat these are `graft: {store, passages, min_score}` and `prompt: {id, version, variables}`; in `/v1/responses` the tool
`file_search` and the same `prompt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from adapters.errors import InvalidInput
from gateway.wire.decoding import decode

MOST_PASSAGES = 50
"""As OpenAI's `max_num_results` has it."""

Count = Annotated[int, msgspec.Meta(ge=1, le=MOST_PASSAGES)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says of the search; what it leaves out is as the adapted model has it, or the usual."""

    stores: tuple[str, ...] = ()
    passages: int | None = None
    min_score: float | None = None
    lexical_weight: float | None = None
    filters: Any = None
    """As they came."""
    reranks: bool = False
    """By a cross-encoder, where there is one."""
    field: str = "graft.store"
    """Where the caller named the stores."""


class GraftFields(msgspec.Struct, forbid_unknown_fields=True):
    store: str | None = None
    passages: Count | None = None
    min_score: Share | None = None


class PromptReference(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's reference to a stored prompt."""

    id: str
    version: str | None = None
    variables: dict[str, Any] | None = None


def read_wish(raw: msgspec.Raw) -> Wish | None:
    """Of a chat's field `graft`. Raises InvalidInput that names the field."""
    if bytes(raw) == b"null":
        return None
    said = decode(raw, GraftFields, within="graft")
    if said.store == "":
        raise InvalidInput("graft.store is empty; name a vector store, or leave it out", param="graft.store")
    return Wish((said.store,) if said.store else (), said.passages, said.min_score)


def read_reference(raw: msgspec.Raw) -> PromptReference | None:
    """Of the field `prompt`. Raises InvalidInput that names the field."""
    return None if bytes(raw) == b"null" else decode(raw, PromptReference, within="prompt")
