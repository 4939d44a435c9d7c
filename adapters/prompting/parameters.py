"""What a prompt file says about the answer: `modelParameters`, `responseFormat` and `jsonSchema`, as the OpenAI wire has them.

GitHub Models writes `maxTokens`, the wire `max_tokens`: both are read. Knows no message and no engine.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any

from adapters.errors import InvalidInput

Check = Callable[[Any], bool]


def _number(low: float, high: float) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int) -> Check:
    return lambda value: type(value) is int and value >= low


def _words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value))


PARAMETERS: dict[str, tuple[str, Check, str]] = {
    "temperature": ("temperature", _number(0, 2), "a number from 0 to 2"),
    "topP": ("top_p", _number(0, 1), "a number from 0 to 1"),
    "maxTokens": ("max_tokens", _whole(1), "a whole number, 1 or more"),
    "maxCompletionTokens": ("max_tokens", _whole(1), "a whole number, 1 or more"),
    "max_completion_tokens": ("max_tokens", _whole(1), "a whole number, 1 or more"),
    "frequencyPenalty": ("frequency_penalty", _number(-2, 2), "a number from -2 to 2"),
    "presencePenalty": ("presence_penalty", _number(-2, 2), "a number from -2 to 2"),
    "seed": ("seed", _whole(0), "a whole number, 0 or more"),
    "stop": ("stop", _words, "a text or a list of texts"),
    "reasoningEffort": ("reasoning_effort", lambda value: isinstance(value, str), "a word"),
}
"""By the file's name: the wire's name, what it may be, and that in words. The wire's own names are read as well."""

FORMATS = ("text", "json_object", "json_schema")


def parse_parameters(raw: Any, where: str) -> dict[str, Any]:
    """By the names of the wire. Raises InvalidInput with the place of what is wrong."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise InvalidInput(f"{where}: must be a table such as {{temperature: 0}}", param=where)
    known = {wire: (wire, check, words) for wire, check, words in PARAMETERS.values()} | PARAMETERS
    found: dict[str, Any] = {}
    for name, value in raw.items():
        place = f"{where}.{name}"
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(PARAMETERS)}"
            raise InvalidInput(f"{place}: no such parameter; {hint}", param=place)
        wire, check, words = known[name]
        if not check(value):
            raise InvalidInput(f"{place}: must be {words}, not {value!r}", param=place)
        if found.setdefault(wire, value) != value:
            raise InvalidInput(f"{place}: '{wire}' is said twice, differently", param=place)
    return found


def parse_response_format(said: Any, schema: Any) -> dict[str, Any] | None:
    """`responseFormat` and `jsonSchema` of a file, as the wire's `response_format`; None where neither is there."""
    if isinstance(said, dict):  # as the wire itself has it
        schema = said.get("json_schema") if schema is None else schema
        said = said.get("type")
    if said is None and schema is not None:
        said = "json_schema"
    if said is None:
        return None
    if said not in FORMATS:
        raise InvalidInput(f"responseFormat: must be one of {', '.join(FORMATS)}, not {said!r}", param="responseFormat")
    if said != "json_schema":
        return {"type": said}
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"jsonSchema: this is not JSON ({error})", param="jsonSchema") from error
    if not isinstance(schema, dict) or not isinstance(schema.get("name"), str) or not isinstance(schema.get("schema"), dict):
        raise InvalidInput("jsonSchema: must be there, with 'name' and 'schema'", param="jsonSchema")
    return {"type": "json_schema", "json_schema": schema}
