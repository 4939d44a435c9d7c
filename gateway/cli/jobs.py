"""`graft jobs …`: the queue, as a person sees it. Works with no gateway running."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from adapters.errors import NotFound
from gateway.cli.desk import Desk
from gateway.cli.models import Json, Quiet
from gateway.cli.progress import follow, report
from gateway.cli.terminal import ago, err, out, print_json, print_table
from gateway.jobs.runner import log_file
from gateway.jobs.store import Job


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
        rows = ((job.id, job.kind, job.payload.get("name", "–"), job.state, ago(now - job.created_at)) for job in jobs)
        print_table(("JOB", "KIND", "NAME", "STATE", "CREATED"), rows)


def show(job: str, *, json: Json = False) -> None:
    """One job, with its events."""
    desk = Desk()
    found = desk.jobs.get(job)
    events = desk.jobs.events(job)
    if json:
        print_json(_described(found) | {"events": [{"at": event.at, "message": event.message} for event in events]})
        return
    print_table(("", ""), [("job", found.id), ("state", found.state), *((k, str(v)) for k, v in found.payload.items())])
    out.print()
    print_table(("AT", "EVENT"), ((datetime.fromtimestamp(e.at).strftime("%H:%M:%S"), e.message) for e in events))


def logs(job: str, *, follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False) -> None:
    """What the job's process printed.

    Parameters
    ----------
    follow
        Go on until the job ends.
    """
    desk = Desk()
    desk.jobs.get(job)
    log = log_file(desk.settings, job)
    if not log.exists() and not follow:
        raise NotFound(f"job '{job}' has printed nothing yet", param="job")
    position = 0
    while True:
        final = desk.jobs.get(job).is_final
        if log.exists():
            with log.open("rb") as file:
                file.seek(position)
                text = file.read()
                position = file.tell()
            out.print(text.decode(errors="replace"), end="", markup=False, soft_wrap=True)
        if final or not follow:
            return
        time.sleep(0.5)  # a file another process writes: there is nothing to wait on


def wait(job: str, *, json: Json = False) -> None:
    """Show progress until the job ends."""
    desk = Desk()
    report(follow(desk, desk.jobs.get(job), quiet=json), json=json)


def cancel(job: str) -> None:
    """End a job that waits or runs."""
    found = Desk().jobs.cancel(job)
    err.print(f"{job} is {'being cancelled' if found.state == 'running' else found.state}")


def _described(job: Job) -> dict[str, object]:
    fields = ("id", "kind", "state", "attempt", "created_at", "started_at", "finished_at", "payload", "error", "result")
    return {field: getattr(job, field) for field in fields}
