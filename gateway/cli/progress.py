"""Follows a tuning job from outside: a bar with loss, tokens per second and time left, then its outcome.

Reads the run folder's metrics and the job's row; the job neither knows nor minds that somebody watches.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from adapters.errors import GraftError, Interrupted
from gateway.cli.bakeoff_table import print_outcome
from gateway.cli.candidates import print_candidates
from gateway.cli.course import of_arm
from gateway.cli.desk import Desk
from gateway.cli.passages import print_search
from gateway.cli.terminal import err, out, print_json, print_table
from gateway.jobs.job import Job
from gateway.jobs.metrics import Tail
from gateway.jobs.runner import only_runner

LOOK_S = 0.3


def ensure_runner(desk: Desk) -> None:
    """Starts a runner that outlives this command, unless one is at work on this home."""
    with only_runner(desk.settings.storage_home, wait=False) as none_yet:
        pass
    if none_yet:
        argv = [sys.executable, "-m", "gateway.jobs.runner", "--until-idle"]
        subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def see_out(desk: Desk, job: Job, *, detach: bool, json: bool) -> None:
    """What comes after a job was put into the queue: its id and no more, or its course and its outcome."""
    ensure_runner(desk)
    if detach:
        print(job.id)
        return
    if not json:
        err.print(f"{job.id} is in the queue", markup=False)
    report(follow(desk, job, quiet=json), json=json)


def follow(desk: Desk, job: Job, *, quiet: bool = False) -> Job:
    """Waits for the job's end and returns it. Interrupting this leaves the job running."""
    metrics = Tail(Path(job.payload["run"]))
    columns = (
        TextColumn("{task.description:<20}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[detail]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as progress:
        bar = progress.add_task("waiting in the queue", total=None, detail="")
        seen = 0
        try:
            while True:
                job = desk.jobs.get(job.id)
                for event in metrics.new():
                    _show(progress, bar, event, quiet=quiet)
                for said in desk.jobs.events(job.id, after=seen):
                    seen = said.id
                    if said.message.startswith("back in the queue") and not quiet:
                        err.print(f"{job.id}: {said.message}", markup=False)
                if job.is_final or job.state == "paused":
                    return job
                ensure_runner(desk)  # also while it runs: should its runner die, somebody must take it up
                time.sleep(LOOK_S)  # rows and files that other processes write: there is nothing to wait on
        except KeyboardInterrupt:
            message = (
                f"{job.id} goes on without you: `graft jobs wait {job.id}` watches it, `graft jobs cancel {job.id}` ends it"
            )
            raise Interrupted(message) from None


def _show(progress: Progress, bar: Any, event: dict[str, Any], *, quiet: bool) -> None:
    if event["event"] == "stage":
        progress.update(bar, description=event["stage"], total=None, completed=0, detail="")
        if not progress.console.is_terminal and not quiet:
            progress.console.print(event["stage"], markup=False)
    elif event["event"] == "step":
        detail = f"loss {event['loss']:.3f} · {event['tokens_per_s']:.0f} tokens/s · {event['seconds_left']:.0f} s left"
        progress.update(bar, total=event["steps"], completed=event["step"], detail=detail)
    elif event["event"] == "candidate":
        detail = f"{event['name']}: {event['mean']:.3f} · {event['seconds_left']:.0f} s left"
        progress.update(bar, total=event["of"], completed=event["at"], detail=detail)
    elif event["event"] == "arm":
        progress.update(bar, description=event["name"], total=1.0, completed=event["share"], detail=of_arm(event))
        if event["stage"] in ("ended", "failed") and not quiet:
            progress.console.print(f"{event['name']}: {of_arm(event)}", markup=False)


def report(job: Job, *, json: bool) -> None:
    """The outcome: the scorecard as a table, or the reason, as an error, why there is none."""
    if job.state != "succeeded":
        reason = job.error["message"] if job.error else f"it was {job.state}"
        raise GraftError(f"{job.id} {job.state}: {reason}" if job.error else f"{job.id}: {reason}")
    assert job.result is not None  # what succeeded has one
    if json:
        print_json({"job": job.id} | job.result)
        return
    if "bakeoff" in job.result:
        print_outcome(job.result)
    else:
        print_scorecard(job.result["scorecard"], job.result["name"])
    if job.result["published"]:
        out.print(f'[green]published[/] {job.result["name"]}@{job.result["version"]}: ask it as model="{job.result["name"]}"')
    elif job.result["version"] is not None:
        out.print(f"version {job.result['version']} of {job.result['name']}: {job.result['reason']}", markup=False)
    else:
        why = "" if job.result["better"] else " (not clearly better than the base)"
        draft = job.result["digest12"]
        out.print(
            f"kept as a draft{why}: `graft models promote {job.result['name']} --draft {draft}` publishes it all the same"
        )


def print_scorecard(card: dict[str, Any], name: str) -> None:
    low, high = card["difference"]["interval"]
    rows = [
        (
            side,
            f"{card[key]['mean']:.3f}",
            "[{:.3f}, {:.3f}]".format(*card[key]["interval"]),
            f"{card['loss_nats_per_token'][key]:.3f}",
        )
        for side, key in (("base", "base"), (name, "adapted"))
    ]
    rows.append(("difference", f"{card['difference']['mean']:+.3f}", f"[{low:+.3f}, {high:+.3f}]", ""))
    print_table(
        (f"{card['n']} HELD-OUT ROWS", card["metric"].upper().replace("_", " "), "95% INTERVAL", "LOSS (NATS/TOKEN)"), rows
    )
    if chosen := card.get("fitted"):
        (print_search if "triad" in chosen else print_candidates)(chosen)
    if lost := card.get("forgetting"):
        low, high = lost["interval"]
        asked = lost["questions"]
        after, before = (round(asked[when] * asked["n"]) for when in ("after", "before"))
        out.print(
            f"forgetting: the base's own words cost {lost['nats_per_token']:+.3f} [{low:+.3f}, {high:+.3f}] nats per token; "
            f"{after} of {asked['n']} general questions right, the base {before}",
            markup=False,
            soft_wrap=True,
        )
