"""A prompt file: YAML with messages, what they ask for, and examples. A superset of GitHub Models' `.prompt.yml`.

GitHub Models' fields: name, description, model, modelParameters, responseFormat, jsonSchema, messages, testData,
evaluators. Ours: `inputs`, `examples`, and a message `{role: examples}` where they go. Reads no other file: rows that an
`examples.source` names are the library's to fetch. Knows no tokenizer and no version.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from adapters.errors import InvalidInput
from adapters.prompting.engine import GLOBALS, Template
from adapters.prompting.inputs import Input, nearest, parse_inputs
from adapters.prompting.parameters import parse_parameters, parse_response_format
from adapters.prompting.selectors.choosing import find_selector
from adapters.prompting.yaml_text import read_table
from adapters.prompts import Selection

FIELDS = (
    "name", "description", "model", "modelParameters", "responseFormat", "jsonSchema", "messages", "inputs", "examples",
    "testData", "evaluators",
)  # fmt: skip
EXAMPLES = "examples"
"""The role of the message that stands for the shots."""
ROLES = ("system", "developer", "user", "assistant")
DEFAULT_SHOTS = 8


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    content: Template | None
    """None where the shots go."""


@dataclass(frozen=True, slots=True)
class Examples:
    rows: tuple[dict[str, Any], ...] = ()
    """Those that the file itself holds."""
    source: str | None = None
    """Where the others are: a path beside the file, or an uploaded file's id."""
    user: Template | None = None
    """Makes a row's question; None takes rows as data files have them, and `user`, `assistant`."""
    assistant: Template | None = None
    select: Selection | None = None
    """Its `pool` is empty, for the library to fill in; None shows every row, in order."""


@dataclass(frozen=True, slots=True)
class PromptFile:
    text: str
    name: str
    description: str
    model: str
    parameters: dict[str, Any]
    """As the OpenAI wire names them."""
    response_format: dict[str, Any] | None
    inputs: dict[str, Input]
    messages: tuple[Turn, ...]
    """With exactly one turn for the shots where there are examples."""
    examples: Examples | None
    test_data: tuple[dict[str, Any], ...]
    evaluators: tuple[dict[str, Any], ...]

    @property
    def needs_vectors(self) -> bool:
        """Whether its examples are chosen by meaning, so that they and the question must be encoded."""
        select = self.examples.select if self.examples is not None else None
        return select is not None and find_selector(select.strategy).needs_vectors


def parse(text: str, where: str) -> PromptFile:
    """Raises InvalidInput that names file and place, as in `triage.prompt.yml: messages[1].content: …`."""
    try:
        raw = read_table(text)
        _check_known(raw, FIELDS, "")
        messages = _messages(raw.get("messages"))
        examples = _examples(raw["examples"]) if raw.get("examples") is not None else None
        inputs = _inputs(raw.get("inputs"), messages)
        return PromptFile(
            text, _word(raw, "name"), _word(raw, "description"), _word(raw, "model"),
            parse_parameters(raw.get("modelParameters"), "modelParameters"),
            parse_response_format(raw.get("responseFormat"), raw.get("jsonSchema")),
            inputs, _with_place(messages, examples), examples, _tables(raw, "testData"), _tables(raw, "evaluators"),
        )  # fmt: skip
    except InvalidInput as wrong:
        raise InvalidInput(f"{where}: {wrong.message}", param=wrong.param, code=wrong.code) from wrong


def _messages(raw: Any) -> tuple[Turn, ...]:
    if not isinstance(raw, list) or not raw:
        raise InvalidInput("messages: must be a list of at least one message with role and content", param="messages")
    turns = []
    for number, said in enumerate(raw):
        place = f"messages[{number}]"
        if not isinstance(said, dict):
            raise InvalidInput(f"{place}: must be a table with role and content", param=place)
        _check_known(said, ("role", "content"), f"{place}.")
        role = str(said.get("role") or "").lower()
        if role == EXAMPLES and said.get("content") is None:
            turns.append(Turn(EXAMPLES, None))
            continue
        if role not in ROLES:
            known = ", ".join((*ROLES, EXAMPLES))
            raise InvalidInput(f"{place}.role: must be one of {known} (without content), not '{role}'", param=f"{place}.role")
        turns.append(Turn(role, _template(said, "content", f"{place}.")))
    return tuple(turns)


def _inputs(raw: Any, messages: tuple[Turn, ...]) -> dict[str, Input]:
    """Those of the file; where it declares none, every variable of its messages is a string."""
    templates = [turn.content for turn in messages if turn.content is not None]
    if raw is None:
        asked = sorted(frozenset[str]().union(*(template.names for template in templates)) - GLOBALS)
        return {name: Input() for name in asked}
    inputs = parse_inputs(raw, "inputs")
    unknown = [
        f"{template.where}: '{name}' is not an input of this prompt{nearest(name, inputs)}"
        for template in templates
        for name in sorted(template.names - GLOBALS - inputs.keys())
    ]
    if unknown:
        raise InvalidInput("; ".join(unknown), param=unknown[0].split(":")[0])
    return inputs


def _examples(raw: Any) -> Examples:
    if isinstance(raw, list):
        return Examples(_rows(raw, "examples"))
    if not isinstance(raw, dict):
        raise InvalidInput("examples: must be a list of rows, or a table with 'source' or 'rows'", param="examples")
    _check_known(raw, ("source", "rows", "user", "assistant", "select"), "examples.")
    source = raw.get("source")
    if (source is None) == (raw.get("rows") is None) or not isinstance(source, str | None):
        raise InvalidInput("examples: must have either 'source', the name of a data file, or 'rows'", param="examples.source")
    if ("user" in raw) != ("assistant" in raw):
        raise InvalidInput("examples: 'user' and 'assistant' go together", param="examples.user")
    rows = _rows(raw["rows"], "examples.rows") if source is None else ()
    user, assistant = (_template(raw, field, "examples.") if field in raw else None for field in ("user", "assistant"))
    return Examples(rows, source, user, assistant, _selection(raw.get("select")))


def _selection(raw: Any) -> Selection | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise InvalidInput("examples.select: must be a table such as {strategy: knn, k: 8}", param="examples.select")
    _check_known(raw, ("strategy", "k", "seed", "max_tokens"), "examples.select.")
    strategy = _word(raw, "strategy") or "fixed"
    try:
        find_selector(strategy)
    except InvalidInput as wrong:
        raise InvalidInput(f"examples.select.strategy: {wrong.message}", param="examples.select.strategy") from wrong
    numbers = {"k": DEFAULT_SHOTS, "seed": 0} | {name: raw[name] for name in ("k", "seed", "max_tokens") if name in raw}
    for name, value in numbers.items():
        if type(value) is not int or value < 0:
            place = f"examples.select.{name}"
            raise InvalidInput(f"{place}: must be a whole number, 0 or more, not {value!r}", param=place)
    return Selection(strategy, pool="", **numbers)


def _with_place(messages: tuple[Turn, ...], examples: Examples | None) -> tuple[Turn, ...]:
    """The turns, with one for the shots: before the last question of the user where the file names no place."""
    places = [number for number, turn in enumerate(messages) if turn.content is None]
    if examples is None and places:
        where = f"messages[{places[0]}]"
        raise InvalidInput(f"{where}: there are no 'examples' in this file", param=where)
    if len(places) > 1:
        raise InvalidInput(f"messages[{places[1]}]: the examples can go to one place only", param=f"messages[{places[1]}]")
    if examples is None or places:
        return messages
    asking = [number for number, turn in enumerate(messages) if turn.role == "user"]
    at = asking[-1] if asking else len(messages)
    return (*messages[:at], Turn(EXAMPLES, None), *messages[at:])


def _template(raw: dict[str, Any], field: str, above: str) -> Template:
    place = f"{above}{field}"
    if not isinstance(raw.get(field), str):
        raise InvalidInput(f"{place}: must be a text", param=place)
    return Template(raw[field], place)


def _word(raw: dict[str, Any], field: str) -> str:
    value = raw.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{field}: must be a text, not {value!r}; put it in quotes", param=field)
    return value or ""


def _rows(raw: Any, where: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(row, dict) for row in raw):
        raise InvalidInput(f"{where}: must be a list of tables, at least one", param=where)
    return tuple(raw)


def _tables(raw: dict[str, Any], field: str) -> tuple[dict[str, Any], ...]:
    return _rows(raw[field], field) if raw.get(field) else ()


def _check_known(raw: Collection[str], known: tuple[str, ...], above: str) -> None:
    for field in raw:
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
            raise InvalidInput(f"{above}{field}: a prompt file has no such field; {hint}", param=f"{above}{field}")
