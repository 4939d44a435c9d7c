"""Names that mean something to the gateway itself, so that no base and no adapted model can be called so.

Knows no database and no settings.
"""

from __future__ import annotations

from adapters.adapted_model import checked_name
from adapters.errors import InvalidInput

ADVISOR = "advisor"
"""Answers which method suits a task, in `/v1/chat/completions`."""

RESERVED = {ADVISOR: "the advisor, who answers which method suits a task"}


def free_name(name: str, *, param: str = "name") -> str:
    """The name itself, as `checked_name` has it. Raises InvalidInput where it is none, or is reserved."""
    if name in RESERVED:
        raise InvalidInput(f"'{name}' is the name of {RESERVED[name]}; choose another", param=param, code="reserved_name")
    return checked_name(name)
