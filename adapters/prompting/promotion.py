"""A prompt file as what an adapted model carries, so that its name can be asked like any model: with a question only.

All inputs but one get their value now; the one that is left is the question. What an adapted model cannot carry is refused
with the reason. Knows no registry and no folder.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.adapted_model import Sampling
from adapters.errors import InvalidInput
from adapters.prompting.engine import Template
from adapters.prompting.file import PromptFile, Turn
from adapters.prompting.inputs import Input, checked
from adapters.prompting.pool import Pool, pool_digest
from adapters.prompting.selectors.choosing import choose, find_selector
from adapters.prompts import PromptTemplate, Shot

PAIRS = "messages between the first and the last must be pairs of user and assistant"
SAMPLING = ("temperature", "top_p", "max_tokens", "stop")


@dataclass(frozen=True, slots=True)
class Promoted:
    template: PromptTemplate
    sampling: Sampling
    pool: tuple[Shot, ...] = ()
    """The rows that the template's selection chooses from, without the words around the question; empty where it has none."""


@dataclass(frozen=True, slots=True)
class _Question:
    """The user's message that is left open, and the words around it."""

    where: str
    before: str
    after: str

    def bare(self, shot: Shot, which: str) -> Shot:
        """The shot without those words, which the adapted model puts around every question alike."""
        long_enough = len(shot.user) >= len(self.before) + len(self.after)
        if not (long_enough and shot.user.startswith(self.before) and shot.user.endswith(self.after)):
            raise _cannot(
                f"{which}: it must have the same words around its question as {self.where}, since an adapted model puts the "
                "same words around every question"
            )
        return dataclasses.replace(shot, user=shot.user[len(self.before) : len(shot.user) - len(self.after)])


def as_template(prompt: PromptFile, pool: Pool | None, variables: Mapping[str, Any] | None = None) -> Promoted:
    """`pool` holds the file's examples, `variables` the inputs that get their value now.

    Shots that do not depend on the question become fixed ones. Raises InvalidInput with what cannot be carried.
    """
    asked, values = _left_open(prompt, variables or {})
    turns = list(prompt.messages)
    system = None
    if turns[0].role in ("system", "developer"):
        system = _said(turns.pop(0), asked, values)
    if not turns or turns[-1].role != "user" or turns[-1].content is None:
        raise _cannot("the last message must be the user's, with the question in it")
    question = _around(turns.pop().content, asked, values)
    before, after = _fixed(turns, question, asked, values)
    select = prompt.examples.select if prompt.examples is not None else None
    rows = [] if pool is None else [question.bare(row, f"example {n}") for n, row in enumerate(pool.rows, 1)]
    template = PromptTemplate(system, before=question.before, after=question.after)
    if select is None or not find_selector(select.strategy).by_question:
        shots = rows if select is None else choose(Pool(rows), select, "")
        return Promoted(dataclasses.replace(template, shots=(*before, *shots, *after)), _sampling(prompt))
    if after:
        raise _cannot("messages behind the chosen examples: an adapted model shows chosen examples last; move them before")
    select = dataclasses.replace(select, pool=pool_digest(rows))
    return Promoted(dataclasses.replace(template, shots=tuple(before), select=select), _sampling(prompt), tuple(rows))


def _left_open(prompt: PromptFile, variables: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The input that becomes the question, and the values of all others."""
    left = [name for name, wanted in prompt.inputs.items() if name not in variables and not wanted.optional]
    if len(left) != 1:
        listed = f"{', '.join(left)} are" if left else "none is"
        raise _cannot(f"exactly one input becomes the question, and {listed} left open; give the others their values")
    if prompt.inputs[left[0]].type != "string":
        raise _cannot(f"the question is text, and '{left[0]}' is of type {prompt.inputs[left[0]].type}")
    others: dict[str, Input] = {name: wanted for name, wanted in prompt.inputs.items() if name != left[0]}
    return left[0], checked(others, variables)


def _said(turn: Turn, asked: str, values: Mapping[str, Any]) -> str:
    assert turn.content is not None  # a turn for the shots is taken out before
    if asked in turn.content.names:
        raise _cannot(f"{turn.content.where}: '{asked}' is the question, and may stand in the last message only")
    return turn.content.render(values)


def _around(content: Template | None, asked: str, values: Mapping[str, Any]) -> _Question:
    assert content is not None  # it is the user's
    parts = re.split(rf"\{{\{{\s*{re.escape(asked)}\s*\}}\}}", content.text)
    plainly = f"{content.where}: '{asked}' must stand there once, as {{{{ {asked} }}}}, outside of any condition or loop"
    if len(parts) != 2:
        raise _cannot(plainly)
    try:
        before, after = (Template(part, content.where) for part in parts)
    except InvalidInput as error:  # it stood between the two ends of something
        raise _cannot(plainly) from error
    if asked in before.names | after.names:
        raise _cannot(plainly)
    return _Question(content.where, before.render(values), after.render(values))


def _fixed(
    turns: Sequence[Turn], question: _Question, asked: str, values: Mapping[str, Any]
) -> tuple[list[Shot], list[Shot]]:  # fmt: skip
    """The questions and answers that the file itself spells out, before and behind the place of the examples."""
    shots: tuple[list[Shot], list[Shot]] = ([], [])
    side, waiting = 0, None
    for turn in turns:
        if turn.content is not None and turn.role not in ("user", "assistant"):
            raise _cannot(f"{turn.content.where}: a {turn.role} message can stand at the beginning only")
        if (turn.role == "assistant") != (waiting is not None):
            raise _cannot(PAIRS)
        if turn.content is None:
            side = 1
        elif waiting is None:
            waiting = _said(turn, asked, values)
        else:
            shots[side].append(question.bare(Shot(waiting, _said(turn, asked, values)), turn.content.where))
            waiting = None
    if waiting is not None:
        raise _cannot(PAIRS)
    return shots


def _sampling(prompt: PromptFile) -> Sampling:
    extra = sorted(prompt.parameters.keys() - set(SAMPLING))
    if extra:
        raise _cannot(f"modelParameters: an adapted model has no default for {', '.join(extra)}; callers send it")
    if prompt.response_format is not None and prompt.response_format["type"] != "text":
        raise _cannot("responseFormat: an adapted model has none; callers send it")
    stop = prompt.parameters.get("stop", ())
    return Sampling(**prompt.parameters | {"stop": (stop,) if isinstance(stop, str) else tuple(stop)})


def _cannot(reason: str) -> InvalidInput:
    return InvalidInput(f"this prompt cannot become an adapted model: {reason}", param="prompt", code="cannot_promote")
