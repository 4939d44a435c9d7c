"""What a row may look like: one recogniser a form, each from a row of named values to an example.

A file's form is that of its first good row. Knows no file format and no line ends; the readers do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.conversation import DOCUMENT, Example, Message
from adapters.data.messages import Wrong, conversation, kind, said, tools

PAIRS = (("prompt", "completion"), ("input", "output"), ("question", "answer"), ("text", "label"))
"""Column names known without being told, in the order in which they are looked for."""

SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "system": "system", "tool": "tool", "observation": "tool",
}  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    fits: Callable[[Row], bool]
    read: Callable[[Row, int], Example]
    """From a row and its line. Raises Wrong."""
    teaches: str = "answers"
    """`answers`, `preferences` or `text`; rows that teach different things cannot stand in one file."""


def read_row(row: Row, line: int, columns: tuple[str, str] | None) -> tuple[str, Example]:
    """The form's name and the example. Raises Wrong."""
    if columns is not None:
        return "pairs", _pair(row, line, columns)
    for name, form in FORMS.items():
        if form.fits(row):
            return name, form.read(row, line)
    for prompt, completion in PAIRS:  # half a pair says what was meant
        if (prompt in row) != (completion in row):
            missing, there = (completion, prompt) if prompt in row else (prompt, completion)
            raise Wrong(f"the row has '{there}' without it", missing)
    known = "; ".join(f"{prompt}, {completion}" for prompt, completion in PAIRS)
    raise Wrong(
        f"no known columns among: {', '.join(row)}. Known: messages; {known}; prompt, chosen, rejected; "
        "instruction, output; conversations; text. Or name yours"
    )


def _chat(row: Row, line: int) -> Example:
    if "functions" in row:
        raise Wrong("functions are the old way of giving tools; give them as tools", "functions")
    return conversation(row["messages"], line, tools=tools(row))


def _pair(row: Row, line: int, columns: tuple[str, str]) -> Example:
    prompt, completion = columns
    for column in columns:
        if column not in row:
            raise Wrong(f"there is no such column; the row has: {', '.join(row) or 'nothing'}", column)
    asked, answered = row[prompt], row[completion]
    if isinstance(asked, list) or isinstance(answered, list):
        return _joined(asked, answered, line, columns)
    return Example((Message("user", said(asked, prompt)), Message("assistant", said(answered, completion))), line, (1,))


def _known_pair(row: Row, line: int) -> Example:
    return _pair(row, line, next(pair for pair in PAIRS if pair[0] in row and pair[1] in row))


def _labelled(row: Row, line: int) -> Example:
    label = row["label"]
    # tables give labels as numbers, and nothing is to be computed with them
    return _pair(row | {"label": str(label) if type(label) is int else label}, line, ("text", "label"))


def _joined(asked: Any, answered: Any, line: int, names: tuple[str, str]) -> Example:
    """Prompt and completion as message lists, or one of them as plain text; only the completion is learned."""
    before = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    after = answered if isinstance(answered, list) else [{"role": "assistant", "content": answered}]
    if not before or not after:
        raise Wrong("the list is empty", names[0] if not before else names[1])
    example = conversation(before + after, line, within=names[0])
    learned = tuple(index for index in example.supervised if index >= len(before))
    return Example(example.messages, line, learned)


def _preference(row: Row, line: int) -> Example:
    if "preferred_output" in row:  # OpenAI's
        given = row["input"]
        if not isinstance(given, dict) or not isinstance(given.get("messages"), list):
            raise Wrong("must be an object with a list of messages", "input")
        prompt, names, offered = given["messages"], ("preferred_output", "non_preferred_output"), tools(given)
    else:
        prompt, names, offered = row["prompt"], ("chosen", "rejected"), ()
    answers = [_one_answer(row[name], prompt, name) for name in names]
    if answers[0] == answers[1]:
        raise Wrong(f"it is the same as '{names[0]}', so nothing is preferred", names[1])
    wanted = _joined(prompt, answers[0], line, ("input" if "preferred_output" in row else "prompt", names[0]))
    return Example(wanted.messages, line, wanted.supervised, offered, rejected=answers[1])


def _one_answer(value: Any, prompt: Any, name: str) -> str:
    """The text of one assistant message. A list may begin with the prompt again, as some tools write it."""
    if isinstance(value, str):
        return said(value, name)
    if not isinstance(value, list) or not value:
        raise Wrong(f"must be text or a list of messages, not {'an empty list' if value == [] else kind(value)}", name)
    own = value[len(prompt) :] if isinstance(prompt, list) and value[: len(prompt)] == prompt else value
    if len(own) != 1 or not isinstance(own[0], dict) or own[0].get("role") != "assistant":
        raise Wrong("must be one message of the assistant", name)
    return said(own[0].get("content"), f"{name}[{len(value) - 1}].content")


def _alpaca(row: Row, line: int) -> Example:
    asked = said(row["instruction"], "instruction")
    if row.get("input"):
        asked += f"\n\n{said(row['input'], 'input')}"
    system = (Message("system", said(row["system"], "system")),) if row.get("system") else ()
    messages = (*system, Message("user", asked), Message("assistant", said(row["output"], "output")))
    return Example(messages, line, (len(messages) - 1,))


def _sharegpt(row: Row, line: int) -> Example:
    turns = row["conversations"]
    if not isinstance(turns, list) or not turns:
        raise Wrong("must be a list of turns", "conversations")
    messages = []
    for index, turn in enumerate(turns):
        speaker = turn.get("from") if isinstance(turn, dict) else None
        if speaker not in SHAREGPT_ROLES:
            raise Wrong(f"unknown speaker {speaker!r}; use one of {', '.join(SHAREGPT_ROLES)}", f"conversations[{index}].from")
        messages.append({"role": SHAREGPT_ROLES[speaker], "content": turn.get("value")})
    try:
        return conversation(messages, line, within="conversations")
    except Wrong as wrong:
        raise Wrong(wrong.message, re.sub(r"content$", "value", wrong.field or "conversations")) from None


def _document(row: Row, line: int) -> Example:
    return Example((Message(DOCUMENT, said(row["text"], "text")),), line, (0,))


def _has(*columns: str) -> Callable[[Row], bool]:
    return lambda row: all(column in row for column in columns)


FORMS: dict[str, Form] = {
    "chat": Form(_has("messages"), _chat),
    "preference": Form(
        lambda row: _has("prompt", "chosen", "rejected")(row) or _has("input", "preferred_output", "non_preferred_output")(row),
        _preference,
        "preferences",
    ),
    "sharegpt": Form(_has("conversations"), _sharegpt),
    "alpaca": Form(_has("instruction", "output"), _alpaca),
    "labelled": Form(lambda row: _has("text", "label")(row) and not _has("prompt", "completion")(row), _labelled),
    "pairs": Form(lambda row: any(_has(*pair)(row) for pair in PAIRS), _known_pair),
    "text": Form(lambda row: "text" in row and all(pair[1] not in row for pair in PAIRS), _document, "text"),
}
"""In the order in which they are tried."""
