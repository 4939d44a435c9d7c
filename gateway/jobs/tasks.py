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
from gateway.bakeoff.searching import remove_unused
from gateway.bakeoff.tidying import tidy
from gateway.db.names import Names
from gateway.files import FileStore
from gateway.jobs.metrics import read, results_csv, trained_tokens
from gateway.publishing import publish
from gateway.settings import Settings
from gateway.stores.filling import recut

PUBLISH = ("better", "always", "never")


@dataclass(frozen=True, slots=True)
class Settled:
    result: dict[str, Any]
    """Of the job; holds at least `name`, `version`, `published` and `reason`."""
    awaits: tuple[tuple[str, int], ...] = ()
    """Names and the versions that they want, which a gateway has yet to prove."""
    must_answer: bool = False
    """A name that cannot answer makes the job a failure."""


@dataclass(frozen=True, slots=True)
class Task:
    argv: Callable[[dict[str, Any], Settings], list[str]]
    """The command that does the work, or goes on with it."""
    settle: Callable[[dict[str, Any], Settings, Names], Settled]
    """Reads what the command left, and asks for names to move."""
    takes_accelerator: bool = True
    """It needs the accelerator to itself from beginning to end; if not, it asks for it when it does."""
    tidy: Callable[[Settings, Names], None] = lambda settings, names: None
    """Takes away what killed or cancelled jobs of the kind have left. Called while no job runs."""


def _tune_argv(payload: dict[str, Any], settings: Settings) -> list[str]:
    several = ["--processes", str(settings.jobs_processes), "--sharding", settings.jobs_sharding]
    return [sys.executable, "-m", "adapters", "run", payload["run"], *several]


def _tune_settle(payload: dict[str, Any], settings: Settings, names: Names) -> Settled:
    """Publishes the draft when that was asked for, and asks for the name to move to it, if the gate lets it.

    The kept checkpoints become names of their own with it.
    """
    run = Path(payload["run"])
    outcome: dict[str, Any] = json.loads((run / "result.json").read_bytes())
    result = outcome | {"published": False, "version": None, "reason": None}
    if payload.get("is_own_store"):
        recut(settings, payload["store"], run, outcome["scorecard"]["fitted"]["chunking"])
    result |= {"trained_tokens": trained_tokens(read(run)), "result_files": []}
    if payload.get("result_file"):
        result["result_files"] = [_kept_results(run, payload["result_file"], settings)]
    if _is_wanted(payload, outcome) and "store" in payload:
        recut(settings, payload["store"], run, outcome["scorecard"]["fitted"]["chunking"])
    settled = _published(payload, outcome, result, settings, names)
    if settled.result["version"] is None or settled.result["reason"] is not None:
        return settled
    awaits = list(settled.awaits)
    for name, digest12 in outcome.get("checkpoints", {}).items():
        kept = names.registry.publish(names.registry.read(name, digest12))
        if not publish(names, settings, name, kept.version, force=True):
            awaits.append((name, kept.version))
    return Settled(settled.result, tuple(awaits), must_answer=bool(payload.get("must_answer")))


def _bakeoff_argv(payload: dict[str, Any], settings: Settings) -> list[str]:
    return [sys.executable, "-m", "gateway.bakeoff", payload["run"]]


def _bakeoff_settle(payload: dict[str, Any], settings: Settings, names: Names) -> Settled:
    """Publishes the winner as tuning publishes what it made; a store that nobody won with goes."""
    outcome: dict[str, Any] = json.loads((Path(payload["run"]) / "result.json").read_bytes())
    if not outcome["searches"]:
        remove_unused(settings, Path(payload["run"]))
    elif payload["is_own_store"]:
        recut(settings, payload["store"], Path(outcome["run"]), outcome["scorecard"]["fitted"]["chunking"])
    return _published(payload, outcome, outcome | {"published": False, "version": None, "reason": None}, settings, names)


def _is_wanted(payload: dict[str, Any], outcome: dict[str, Any]) -> bool:
    return payload["publish"] == "always" or (payload["publish"] == "better" and bool(outcome["better"]))


def _published(
    payload: dict[str, Any], outcome: dict[str, Any], result: dict[str, Any], settings: Settings, names: Names
) -> Settled:
    """The draft as a version of its name that the name is to move to, if that was asked for and the gate lets it."""
    if not _is_wanted(payload, outcome):
        return Settled(result)
    model = names.registry.publish(names.registry.read(outcome["name"], outcome["digest12"]))
    result["version"] = model.version
    try:
        result["published"] = publish(names, settings, model.name, model.version, force=payload["publish"] == "always")
    except Conflict as refused:
        return Settled(result | {"reason": refused.message})
    return Settled(result, () if result["published"] else ((model.name, model.version),))


def _kept_results(run: Path, filename: str, settings: Settings) -> str:
    """The id of the file that tells the run's course, step by step. Made twice, it is the same file."""
    at = (run / "result.json").stat().st_mtime_ns
    return FileStore(settings.files).keep_results(results_csv(run), filename=filename, at_ns=at, of=run.name).id


KINDS: dict[str, Task] = {
    "tune": Task(_tune_argv, _tune_settle),
    "bakeoff": Task(_bakeoff_argv, _bakeoff_settle, takes_accelerator=False, tidy=tidy),
}
