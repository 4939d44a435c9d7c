"""A job, its happenings and its checkpoints as the fine-tuning API shows them. Knows no route and no queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.jobs import metrics
from gateway.jobs.history import Happening, checkpoints
from gateway.jobs.job import Job
from gateway.wire.fine_tuning import Checkpoint, Event, FineTuningJob, JobError


def shown(job: Job, *, answers: bool) -> FineTuningJob:
    """`answers` tells whether the model's name leads to something by now. Reads the run's metrics while it runs."""
    asked, result = job.asked or {}, job.result or {}
    step = _last_step(job) if job.state == "running" else None
    return FineTuningJob(
        id=job.id, created_at=int(job.created_at), finished_at=None if job.finished_at is None else int(job.finished_at),
        estimated_finish=int(step["time"] + step["seconds_left"]) if step else None, model=asked["model"],
        fine_tuned_model=job.payload["name"] if job.state == "succeeded" and answers else None,
        organization_id=job.tenant, status=job.state, training_file=asked["training_file"],
        validation_file=asked["validation_file"], result_files=result.get("result_files", []),
        hyperparameters=asked["hyperparameters"], method=asked["method"], trained_tokens=result.get("trained_tokens"),
        error=_error(job), seed=asked["recipe"]["seed"], metadata=job.labels, user_provided_suffix=asked["suffix"],
        graft=_own(job, asked, result, step),
    )  # fmt: skip


def shown_event(happening: Happening) -> Event:
    return Event(
        id=happening.id, created_at=int(happening.at), level=happening.level, message=happening.message,
        type=happening.kind, data=happening.data,
    )  # fmt: skip


def shown_checkpoints(job: Job, said: list[dict[str, Any]]) -> list[Checkpoint]:
    """Newest first. `said` is all of the run's metrics.jsonl."""
    losses = metrics.by_step(said)
    return [
        Checkpoint(
            id=f"ftckpt_{job.id.rpartition('-')[2]}{event['step']}", created_at=int(event["time"]),
            fine_tuned_model_checkpoint=event["name"], fine_tuning_job_id=job.id, step_number=event["step"],
            metrics={"step": event["step"], **losses.get(event["step"], {})},
        )
        for event in reversed(checkpoints(said))
    ]  # fmt: skip


def _own(job: Job, asked: dict[str, Any], result: dict[str, Any], step: dict[str, Any] | None) -> dict[str, Any]:
    progress = None
    if step is not None:
        told = ("step", "steps", "epoch", "loss", "tokens_per_s", "seconds_left")
        progress = {name: step[name] for name in told} | {"share": round(step["step"] / step["steps"], 4)}
    return {
        "recipe": asked["recipe"], "publish": job.payload["publish"], "attempt": job.attempt, "progress": progress,
        "better": result.get("better"), "scorecard": result.get("scorecard"), "reason": result.get("reason"),
    }  # fmt: skip


def _last_step(job: Job) -> dict[str, Any] | None:
    return next((event for event in reversed(metrics.read(Path(job.payload["run"]))) if event["event"] == "step"), None)


def _error(job: Job) -> JobError | None:
    if job.error is None:
        return None
    return JobError(job.error["code"], job.error["message"], job.error.get("param"))
