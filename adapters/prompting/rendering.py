"""A prompt file, values for its inputs and shots become the messages of a conversation, within a budget of tokens.

Knows no version, no pool and no tokenizer: who has one gives it as `count`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.conversation import WireMessage
from adapters.errors import InvalidInput
from adapters.prompting.file import PromptFile
from adapters.prompting.inputs import checked
from adapters.prompting.pool import FRAME_TOKENS, estimated_tokens
from adapters.prompting.selectors.choosing import find_selector
from adapters.prompts import Shot

CountMessages = Callable[[Sequence[WireMessage]], int]
"""Tokens of a whole conversation."""


@dataclass(frozen=True, slots=True)
class Rendered:
    messages: list[WireMessage]
    dropped_shots: tuple[Shot, ...]
    """Left out for the budget, in the order in which they would have been shown."""
    tokens: int
    """Of all messages, by the count that was given, else estimated."""


def estimated_message_tokens(messages: Sequence[WireMessage]) -> int:
    """Characters by 3.5, and half a pair's frame for each message."""
    return sum(estimated_tokens(str(message["content"])) + FRAME_TOKENS // 2 for message in messages)


def render_file(
    prompt: PromptFile,
    variables: Mapping[str, Any],
    shots: Sequence[Shot] = (),
    budget_tokens: int | None = None,
    count: CountMessages | None = None,
) -> Rendered:
    """The messages, with the shots (in the order of `choose`) where the file wants them.

    Over the budget shots are dropped, those that suit least first. Raises InvalidInput for variables that do not fit the
    inputs, and for a prompt that is over the budget without any shot.
    """
    values = checked(prompt.inputs, variables)
    said = [(turn.role, turn.content.render(values) if turn.content is not None else None) for turn in prompt.messages]

    def with_shots(kept: Sequence[Shot]) -> list[WireMessage]:
        messages: list[WireMessage] = []
        for role, content in said:
            messages += [{"role": role, "content": content}] if content is not None else _turns(kept)
        return messages

    counted = count or estimated_message_tokens
    kept, messages = list(shots), with_shots(shots)
    tokens = counted(messages)
    if budget_tokens is not None and tokens > budget_tokens:
        kept = _within(kept, _least_first(prompt), lambda some: counted(with_shots(some)) <= budget_tokens)
        messages = with_shots(kept)
        tokens = counted(messages)
    if budget_tokens is not None and tokens > budget_tokens:
        raise InvalidInput(f"the prompt has {tokens:,} tokens without any example, and {budget_tokens:,} may be used")
    first = len(shots) - len(kept) if _least_first(prompt) else 0
    dropped = shots[:first] if _least_first(prompt) else shots[len(kept) :]
    return Rendered(messages, tuple(dropped), tokens)


def question_of(prompt: PromptFile, variables: Mapping[str, Any]) -> str:
    """What shots are chosen by: the question as `examples.user` would write it, else the last message of the user."""
    values = checked(prompt.inputs, variables)
    if prompt.examples is not None and prompt.examples.user is not None and prompt.examples.user.names <= values.keys():
        return prompt.examples.user.render(values)
    asked = [turn.content for turn in prompt.messages if turn.role == "user" and turn.content is not None]
    return asked[-1].render(values) if asked else ""


def _least_first(prompt: PromptFile) -> bool:
    """Whether the shot that suits least is the first one; else it is the last."""
    select = prompt.examples.select if prompt.examples is not None else None
    return select is not None and find_selector(select.strategy).by_question


def _within(shots: list[Shot], least_first: bool, fits: Callable[[Sequence[Shot]], bool]) -> list[Shot]:
    """The most shots that fit, found by halving: a count by a tokenizer is not free."""
    low, high = 0, len(shots) - 1  # all of them do not fit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(_best(shots, middle, least_first)):
            low = middle
        else:
            high = middle - 1
    return _best(shots, low, least_first)


def _best(shots: list[Shot], number: int, least_first: bool) -> list[Shot]:
    return shots[len(shots) - number :] if least_first else shots[:number]


def _turns(shots: Sequence[Shot]) -> list[WireMessage]:
    pairs = (({"role": "user", "content": s.user}, {"role": "assistant", "content": s.assistant}) for s in shots)
    return [turn for pair in pairs for turn in pair]
