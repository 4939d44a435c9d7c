"""YAML as text to plain values, with errors that name line and column. Knows no prompt.

YAML 1.2 as others read it: `no` and `2024-05-01` are words. What would silently lose something or could grow without
bounds is refused: a key given twice, anchors and aliases, very long texts.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from adapters.errors import InvalidInput

MOST_CHARACTERS = 256 * 1024


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # none of YAML 1.1's; those of 1.2 follow

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not read; write it out", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a word; text with {{ }} goes in quotes", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' stands there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def read_table(text: str) -> dict[str, Any]:
    """The text's one table; keys are words, values are plain. Raises InvalidInput."""
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"{len(text):,} characters are more than the {MOST_CHARACTERS:,} that a prompt file may have")
    try:
        found = yaml.load(text.removeprefix("\ufeff"), _Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidInput(f"{where}{error.problem or 'this is not YAML'}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise InvalidInput(f"this is not YAML ({reason})") from error
    if not isinstance(found, dict):
        raise InvalidInput("a prompt file is a table that begins with name: or messages:")
    return found
