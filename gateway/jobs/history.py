"""What happened to a tuning job, in order, as the fine-tuning API tells it: from the queue's events and the run's own.

Every happening keeps its id for good, so that a caller can go on behind one it has seen. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.jobs.job import Job, JobEvent


@dataclass(frozen=True, slots=True)
class Happening:
    id: str
    at: float
    """Seconds since 1970."""
    message: str
    level: str = "info"
    kind: str = "message"
    """Or `metrics`."""
    data: dict[str, Any] = field(default_factory=dict)


def history(job: Job, events: list[JobEvent], said: list[dict[str, Any]]) -> list[Happening]:
    """Oldest first. `said` is all of the run's metrics.jsonl."""
    found = [*_of_queue(job, events), *_of_run(job, said)]
    return sorted(found, key=lambda happening: happening.at)  # stable: what one of the two said stays in its order


def checkpoints(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The run's events of kept ends of epochs, oldest first, each once however often a killed run said it."""
    return list({event["name"]: event for event in reversed(said) if event["event"] == "checkpoint"}.values())[::-1]


def _of_queue(job: Job, events: list[JobEvent]) -> Iterator[Happening]:
    for event in events:
        for number, (level, message) in enumerate(_told(job, event.message)):
            yield Happening(f"ftevent-{_digits(job)}q{event.id}x{number}", event.at, message, level)


def _told(job: Job, said: str) -> list[tuple[str, str]]:
    """The queue's words in the API's."""
    what, _, rest = said.partition(":")
    if said == "accepted":
        asked = job.asked or {}
        files = f"Validating training file: {asked.get('training_file', job.payload['run'])}"
        if asked.get("validation_file"):
            files += f" and validation file: {asked['validation_file']}"
        told = [f"Created fine-tuning job: {job.id}", files, "Files validated, moving job to queued state"]
        return [("info", line) for line in told]
    if said.startswith("started (attempt 1 "):
        return [("info", "Fine-tuning job started")]
    if said.startswith("started"):
        return [("info", f"Fine-tuning job goes on {said.removeprefix('started ')}")]
    if said == "succeeded":
        return [("info", _made(job)), ("info", "The job has successfully completed")]
    if what == "failed":
        return [("error", f"The job failed:{rest}")]
    if what == "back in the queue":
        return [("warn", f"The job is back in the queue:{rest}")]
    return [("info", _PLAIN.get(said, said))]


_PLAIN = {
    "cancelled": "The job was cancelled",
    "paused": "The job was paused",
    "resumed": "The job was resumed",
    "asked to cancel": "The job is being cancelled",
    "asked to pause": "The job is being paused",
}


def _made(job: Job) -> str:
    result = job.result or {}
    if result.get("published"):
        return f"New fine-tuned model created: {result['name']}"
    if result.get("version") is not None:
        return f"New fine-tuned model {result['name']} does not answer yet: {result['reason']}"
    return f"Kept as a draft: {job.payload['name']} (publish: {job.payload['publish']})"


def _of_run(job: Job, said: list[dict[str, Any]]) -> Iterator[Happening]:
    at, told = 0.0, set()
    step: dict[str, Any] = {}
    for number, event in enumerate(said):
        at = max(at, event["time"])  # a clock that was set back must not turn the order round
        here = f"ftevent-{_digits(job)}m{number}"
        if event["event"] == "step":
            step = {"step": event["step"], "total_steps": event["steps"], "train_loss": event["loss"]}
            yield Happening(here, at, _losses(step), "info", "metrics", step)
        elif event["event"] == "validation":
            data = step | {"step": event["step"], "full_valid_loss": event["loss"]}
            yield Happening(here, at, _losses(data), "info", "metrics", data)
        elif event["event"] == "checkpoint" and event["name"] not in told:
            told.add(event["name"])
            yield Happening(here, at, f"Checkpoint created at step {event['step']}")
        elif event["event"] == "data" and event["too_long"]:
            left = f"{event['too_long']} of {event['rows']} rows are too long and were left out"
            yield Happening(here, at, f"{left} (lines {', '.join(map(str, event['too_long_lines']))})", "warn")


def _losses(data: dict[str, Any]) -> str:
    shown = {"training loss": "train_loss", "full validation loss": "full_valid_loss"}
    losses = ", ".join(f"{name}={data[key]:.2f}" for name, key in shown.items() if key in data)
    return f"Step {data['step']}/{data.get('total_steps', '?')}: {losses}"


def _digits(job: Job) -> str:
    return job.id.rpartition("-")[2]
