"""Templates: the one door to minijinja. Text with `{{ name }}` is compiled once and rendered with plain values.

A template can read no file, load no other template and reach no attribute of a Python object; values are put in as they
are and never looked at as templates. Work and output are bounded. Knows no prompt file and no message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import minijinja

from adapters.errors import InvalidInput

FUEL = 50_000
"""Steps that a rendering may take. Text costs one for every 64 bytes, so that this also bounds the output, at 3.2 MB."""
GLOBALS = frozenset({"range", "dict", "namespace"})
"""Functions of the language that templates may call."""
REFUSED = ("debug", "cycler", "joiner")
"""Functions that minijinja would add: `debug` shows the engine's insides, the others keep state."""


class Template:
    """Compiled once; may be rendered by several threads. `names` are the variables it asks for."""

    def __init__(self, text: str, where: str) -> None:
        """`where` begins every error, as in `messages[1].content`. Raises InvalidInput for what is no template."""
        self.text, self.where = text, where
        # debug: without it an error does not say which variable is undefined
        self._environment = minijinja.Environment(
            fuel=FUEL, undefined_behavior="strict", pycompat=False, keep_trailing_newline=True, debug=True
        )
        for name in REFUSED:
            self._environment.remove_global(name)
        try:
            self._environment.add_template(where, text)
            asked = self._environment.undeclared_variables_in_template(where)
        except minijinja.TemplateError as error:
            raise self._wrong(error) from error
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{where}: character {error.start + 1} is half of a pair; write whole characters", param=where
            ) from error
        self.names = frozenset(asked)

    def render(self, values: Mapping[str, Any]) -> str:
        """Raises InvalidInput for a value that is not there, and where the work or the text grows out of bounds."""
        try:
            return self._environment.render_template(self.where, **values)
        except minijinja.TemplateError as error:
            raise self._wrong(error) from error

    def _wrong(self, error: minijinja.TemplateError) -> InvalidInput:
        line = f", line {error.line}" if error.line and "\n" in self.text.strip("\n") else ""
        if error.kind == "OutOfFuel":
            said = f"the template does too much work or writes too much text (more than {FUEL:,} steps, or {FUEL * 64:,} bytes)"
        elif error.kind == "SyntaxError":
            said = f"not a template: {error.detail}; what is not meant as one goes between {{% raw %}} and {{% endraw %}}"
        elif error.kind == "TemplateNotFound":
            said = "a template cannot load another one"
        else:
            said = error.detail or error.message.split(" (in ")[0].split("\n")[0]
        return InvalidInput(f"{self.where}{line}: {said}", param=self.where)


def compile(text: str, where: str) -> Template:
    """The template; `where` is its place in its file."""
    return Template(text, where)
