"""`graft jobs …`: the queue, as a person sees it. Works with no gateway running."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adapters.errors import NotFound
from gateway.cli.bakeoff_table import print_outcome
from gateway.cli.course import course, how_far, of_arm
from gateway.cli.desk import Desk
from gateway.cli.models import Json, Quiet
from gateway.cli.progress import LOOK_S, ensure_runner, follow, print_scorecard, report
from gateway.cli.terminal import ago, err, out, print_json, print_table
from gateway.jobs import metrics
from gateway.jobs.following import Reader
from gateway.jobs.job import Job
from gateway.jobs.runner import log_file


def ls(*, limit: int = 20, json: Json = False, quiet: Quiet = False) -> None:
    """The newest jobs."""
    jobs = Desk().jobs.newest(limit)
    if json:
        print_json([_described(job) for job in jobs])
    elif quiet:
        for job in jobs:
            out.print(job.id, markup=False)
    else:
        now = time.time()
        rows = ((job.id, job.kind, job.payload.get("name", "–"), _state(job), ago(now - job.created_at)) for job in jobs)
        print_table(("JOB", "KIND", "NAME", "STATE", "CREATED"), rows)


def _state(job: Job) -> str:
    far = how_far(metrics.read(Path(job.payload["run"]))) if job.state == "running" else ""
    return f"{job.state} ({far})" if far else job.state


def show(job: str, *, json: Json = False) -> None:
    """One job: its course, its outcome, its events."""
    desk = Desk()
    found = desk.jobs.get(job)
    events = desk.jobs.events(job)
    if json:
        print_json(_described(found) | {"events": [{"at": event.at, "message": event.message} for event in events]})
        return
    print_table(("", ""), [("job", found.id), ("state", _state(found)), *((k, str(v)) for k, v in found.payload.items())])
    out.print()
    if lines := course(metrics.read(Path(found.payload["run"]))):
        print_table(("NATS PER TOKEN", "", "FIRST", "LAST"), lines)
        out.print()
    if found.result is not None and found.result.get("scorecard"):
        if "bakeoff" in found.result:
            print_outcome(found.result)
        else:
            print_scorecard(found.result["scorecard"], found.payload["name"])
        out.print()
    print_table(("AT", "EVENT"), ((datetime.fromtimestamp(e.at).strftime("%H:%M:%S"), e.message) for e in events))


def logs(job: str, *, follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False) -> None:
    """What the job's process printed; with -f, what happens to it, line by line, until it ends.

    Parameters
    ----------
    follow
        Tell steps, losses, tokens per second and time left as they come.
    """
    desk = Desk()
    found = desk.jobs.get(job)
    if follow:
        _follow(Reader(desk.jobs, found))
        return
    log = log_file(desk.settings, job)
    if not log.exists():
        raise NotFound(f"job '{job}' has printed nothing yet", param="job")
    out.print(log.read_text(errors="replace"), end="", markup=False, soft_wrap=True)


def _follow(reader: Reader) -> None:
    while True:
        for _, said in reader.new():
            if said is not None and (line := _line(said)) is not None:
                out.print(f"{datetime.fromtimestamp(said['time']).strftime('%H:%M:%S')}  {line}", markup=False, soft_wrap=True)
        if reader.job.is_final or reader.job.state == "paused":
            return
        time.sleep(LOOK_S)


def _line(said: dict[str, Any]) -> str | None:
    """One happening for a person; None where it says nothing to one."""
    if said["event"] == "step":
        share = 100 * said["step"] / said["steps"]
        where = f"{share:3.0f}%  step {said['step']}/{said['steps']}, epoch {said['epoch']}"
        return f"{where}  loss {said['loss']:.3f}  {said['tokens_per_s']:.0f} tokens/s  {said['seconds_left']:.0f} s left"
    if said["event"] == "validation":
        return f"validation loss {said['loss']:.3f} after epoch {said['epoch']}"
    if said["event"] == "candidate":
        where = f"{100 * said['at'] / max(1, said['of']):3.0f}%  {said['name']}: {said['mean']:.3f} on {said['n']} rows"
        return f"{where}  {said['prompt_tokens']:.0f} tokens a question  {said['seconds_left']:.0f} s left"
    if said["event"] == "arm":
        return f"{100 * said['share']:3.0f}%  {said['name']}: {of_arm(said)}"
    named = {"stage": "stage", "chosen": "name", "checkpoint": "name", "job": "message"}.get(said["event"])
    return None if named is None else f"{said['event']}: {said[named]}"


def wait(job: str, *, json: Json = False) -> None:
    """Show progress until the job ends."""
    desk = Desk()
    report(follow(desk, desk.jobs.get(job), quiet=json), json=json)


def pause(job: str) -> None:
    """Let a job wait, with its memory free, until it is resumed."""
    found = Desk().jobs.pause(job)
    err.print(f"{job} is {'being paused' if found.state == 'running' else found.state}; `graft jobs resume {job}` goes on")


def resume(job: str) -> None:
    """Put a paused job back into the queue; it goes on from its checkpoint."""
    desk = Desk()
    desk.jobs.resume(job)
    ensure_runner(desk)
    err.print(f"{job} is back in the queue")


def cancel(job: str) -> None:
    """End a job that waits, runs or is paused."""
    found = Desk().jobs.cancel(job)
    err.print(f"{job} is {'being cancelled' if found.state == 'running' else found.state}")


def _described(job: Job) -> dict[str, object]:
    fields = ("id", "kind", "state", "attempt", "created_at", "started_at", "finished_at", "payload", "error", "result")
    return {field: getattr(job, field) for field in fields}
