"""What an encoding is: something that turns texts into vectors, in this process or elsewhere. Knows no HTTP and no queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.retrieval.wire import About

if TYPE_CHECKING:
    from adapters.retrieval.encoder import Vectors


@dataclass(frozen=True, slots=True)
class Known:
    """A text's vector."""

    vector: Vectors
    """(width,), float32, of length 1."""
    tokens: int
    """Of the whole text, also where the encoder's window cut it."""


class Encoding(Protocol):
    async def about(self) -> About:
        """Raises Unavailable while that cannot be known, InvalidInput where there is no encoder."""
        ...

    async def encode(self, texts: Sequence[str], *, bulk: bool, cut: bool) -> list[Known]:
        """One for each text, in order. `bulk`: many texts that nobody sits and waits for, which let single ones go first.

        Raises InvalidInput for a text beyond the encoder's window, unless it may be `cut` to it; Unavailable.
        """
        ...
