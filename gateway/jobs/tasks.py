"""What each kind of job runs, and what is done with its result: one row a kind.

A task runs in a process of its own and leaves its result in a folder; `settle` may run twice and must not mind.
Knows no queue.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.errors import Conflict
from gateway.db.names import Names
from gateway.publishing import publish
from gateway.settings import Settings

PUBLISH = ("better", "always", "never")


@dataclass(frozen=True, slots=True)
class Task:
    argv: Callable[[dict[str, Any]], list[str]]
    """The command that does the work, or goes on with it."""
    settle: Callable[[dict[str, Any], Settings, Names], dict[str, Any]]
    """Reads what the command left, asks for names to move, returns the job's result."""


def _tune_argv(payload: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "adapters", "run", payload["run"]]


def _tune_settle(payload: dict[str, Any], settings: Settings, names: Names) -> dict[str, Any]:
    """Publishes the draft when that was asked for, and asks for the name to move to it, if the gate lets it."""
    outcome: dict[str, Any] = json.loads((Path(payload["run"]) / "result.json").read_bytes())
    force = payload["publish"] == "always"
    result = outcome | {"published": False, "version": None, "reason": None}
    if not force and (payload["publish"] == "never" or not outcome["better"]):
        return result
    model = names.registry.publish(names.registry.read(outcome["name"], outcome["digest12"]))
    result["version"] = model.version
    try:
        result["published"] = publish(names, settings, model.name, model.version, force=force)
    except Conflict as refused:
        result["reason"] = refused.message
    return result


KINDS: dict[str, Task] = {
    "tune": Task(_tune_argv, _tune_settle),
}
