"""What a prompt asks for: typed inputs, and whether the values given for them fit. Knows no template.

Everything wrong with the values is said at once. Values are plain JSON, whoever gives them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.errors import InvalidInput

TYPES = ("string", "number", "integer", "boolean", "array", "object")
"""As JSON Schema calls them."""
FIELDS = ("type", "description", "default", "max_chars", "enum")


@dataclass(frozen=True, slots=True)
class Input:
    type: str = "string"
    description: str = ""
    default: Any = None
    optional: bool = False
    """Whether the file gives a default; a default of null is one."""
    max_chars: int | None = None
    """Of a string."""
    enum: tuple[Any, ...] = ()
    """The only values there are, where any are listed."""

    def objection(self, value: Any) -> str | None:
        """What is wrong with the value, to be read after the input's name; None if it fits."""
        if not self._is_typed(value):
            return f"must be {_article(self.type)}, not {_shown(value)}"
        if self.enum and value not in self.enum:
            close = (
                difflib.get_close_matches(value, [known for known in self.enum if isinstance(known, str)], n=1)
                if isinstance(value, str)
                else []
            )
            hint = f"; did you mean '{close[0]}'?" if close else ""
            return f"must be one of {', '.join(map(str, self.enum))}, not {_shown(value)}{hint}"
        if self.max_chars is not None and len(value) > self.max_chars:
            return f"has {len(value):,} characters, more than the {self.max_chars:,} allowed"
        return None

    def _is_typed(self, value: Any) -> bool:
        if isinstance(value, bool):
            return self.type == "boolean"
        if isinstance(value, float) and not math.isfinite(value):
            return False
        kinds: dict[str, type | tuple[type, ...]] = {
            "string": str, "number": (int, float), "integer": int, "array": list, "object": dict, "boolean": bool,
        }  # fmt: skip
        return isinstance(value, kinds[self.type]) and is_plain(value)


def parse_inputs(raw: Any, where: str) -> dict[str, Input]:
    """The file's `inputs`: a type's word or a table for each name. Raises InvalidInput naming the place."""
    if not isinstance(raw, dict):
        raise InvalidInput(f"{where}: must be a table of inputs, as in 'ticket: {{type: string}}'", param=where)
    return {str(name): _parse_input(written, f"{where}.{name}") for name, written in raw.items()}


def checked(inputs: Mapping[str, Input], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables with defaults filled in. Raises InvalidInput that names all that is missing, unknown or does not fit."""
    findings, values = [], dict[str, Any]()
    for name, wanted in inputs.items():
        if name in variables:
            values[name] = variables[name]
            objection = wanted.objection(variables[name])
            if objection is not None and not (wanted.optional and variables[name] is None and wanted.default is None):
                findings.append(f"'{name}' {objection}")
        elif wanted.optional:
            values[name] = wanted.default
        else:
            findings.append(f"'{name}' is missing")
    for name in variables:
        if name not in inputs:
            findings.append(f"'{name}' is not an input of this prompt{nearest(name, inputs)}")
    if findings:
        raise InvalidInput("; ".join(findings), param="variables")
    return values


def nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    listed = f" (it has: {', '.join(known)})" if known else " (it has none)"
    return f"; did you mean '{close[0]}'?" if close else listed


def is_plain(value: Any) -> bool:
    """Whether the value is what JSON can hold, all the way down."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if not all(isinstance(key, str) for key in found):
                return False
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
        elif not (found is None or isinstance(found, str | int | float)):
            return False
    return True


def _parse_input(written: Any, where: str) -> Input:
    raw = {"type": written or "string"} if isinstance(written, str) or written is None else written
    if not isinstance(raw, dict):
        raise InvalidInput(f"{where}: must be a type's word or a table with 'type'", param=where)
    for field in raw:
        if field not in FIELDS:
            close = difflib.get_close_matches(str(field), FIELDS, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(FIELDS)}"
            raise InvalidInput(f"{where}: an input has no '{field}'; {hint}", param=f"{where}.{field}")
    kind, most, enum = raw.get("type", "string"), raw.get("max_chars"), raw.get("enum", [])
    if kind not in TYPES:
        raise InvalidInput(f"{where}.type: must be one of {', '.join(TYPES)}, not {_shown(kind)}", param=f"{where}.type")
    if most is not None and (type(most) is not int or most < 1 or kind != "string"):
        raise InvalidInput(f"{where}.max_chars: must be 1 or more, and of a string", param=f"{where}.max_chars")
    if not isinstance(enum, list):
        raise InvalidInput(f"{where}.enum: must be a list of values", param=f"{where}.enum")
    made = Input(kind, str(raw.get("description") or ""), raw.get("default"), "default" in raw, most, tuple(enum))
    for place, value in [("enum", value) for value in enum] + ([("default", made.default)] if made.default is not None else []):
        objection = made.objection(value)
        if objection is not None:
            raise InvalidInput(f"{where}.{place}: {_shown(value)} {objection}", param=f"{where}.{place}")
    return made


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _shown(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:36]}…"
