"""The advisor's turn in a conversation: what is known so far, the advice from it, and what is asked next.

`openings` of `extraction.py` tell beforehand what a language model may read; its claims come in here. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.bases import BaseFacts
from advisor.advice import from_numbers
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.questions import to_ask
from advisor.conversation.settling import settle
from advisor.conversation.wording import Said, paragraphs


def reply(
    turns: Sequence[Turn], claims: Sequence[Claim], *, facts: BaseFacts | None = None, base: str | None = None
) -> list[str]:
    """Paragraphs. `claims`: of the plain reader and of a model; those that the user's words do not say are dropped.

    `base`: one of the gateway's that the user named, with its facts.
    """
    known = settle(turns, claims)
    advice = from_numbers(known.stated, facts=facts, base_name=base) if known.facts else None
    named = ("params_b",) if facts is not None else ()
    machine = ("gpu_gib",) if "gpu" in known.facts else ()
    asked = to_ask(advice, (*known.facts, *named, *machine), turns)
    return paragraphs(Said(known, advice, asked, base))
