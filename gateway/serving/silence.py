"""The answer of an adapted model that would rather say nothing than answer without its documents. No engine is asked.

Where the caller asked for JSON the sentence stands as a refusal, which clients expect there.
"""

from __future__ import annotations

from gateway.serving import spoken
from gateway.serving.compose import Ask, is_shaped
from gateway.wire.openai import Usage

SENTENCE = "I found nothing about this in the documents that I answer from, so I cannot answer it."


def said(ask: Ask) -> dict[str, str | None]:
    """The message's text."""
    return {"content": None, "refusal": SENTENCE} if is_shaped(ask) else {"content": SENTENCE, "refusal": None}


def whole(ask: Ask) -> bytes:
    return spoken.whole(ask.model, said(ask), Usage())


def stream(ask: Ask) -> bytes:
    """All events at once, `[DONE]` included."""
    told = {name: text for name, text in said(ask).items() if text is not None}
    return b"".join(spoken.events(ask.model, [told], Usage() if ask.wants_usage else None))
