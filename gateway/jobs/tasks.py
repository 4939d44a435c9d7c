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

from adapters.registry import Registry
from gateway.db.names import Names

PUBLISH = ("better", "always", "never")


@dataclass(frozen=True, slots=True)
class Task:
    argv: Callable[[dict[str, Any]], list[str]]
    """The command that does the work, or goes on with it."""
    settle: Callable[[dict[str, Any], Registry, Names], dict[str, Any]]
    """Reads what the command left, moves names, returns the job's result."""


def _tune_argv(payload: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "adapters", "run", payload["run"]]


def _tune_settle(payload: dict[str, Any], registry: Registry, names: Names) -> dict[str, Any]:
    """Publishes the draft when that was asked for, and points the name at it."""
    outcome: dict[str, Any] = json.loads((Path(payload["run"]) / "result.json").read_bytes())
    wanted = payload["publish"] == "always" or (payload["publish"] == "better" and outcome["better"])
    result = outcome | {"published": wanted, "version": None}
    if wanted:
        model = registry.publish(registry.read(outcome["name"], outcome["digest12"]))
        names.promote(model.name, model.version)
        result["version"] = model.version
    return result


KINDS: dict[str, Task] = {
    "tune": Task(_tune_argv, _tune_settle),
}
