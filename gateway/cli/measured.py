"""`graft advise --measure`: the advice, then a bake-off of its leading candidates through the running gateway, and the advice
again with what they scored.

Publishes nothing: the winner is kept as a draft. Knows neither rules nor arms.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.errors import Conflict, GraftError, InvalidInput
from advisor.advice import Advice, advise
from advisor.evidence import Evidence
from advisor.plan import Names, model_name
from advisor.report import terminal, writing
from gateway.bakeoff.ordering import seconds_of
from gateway.bakeoff.preparing import measured
from gateway.cli.bakeoff import submit
from gateway.cli.bakeoff_table import print_outcome
from gateway.cli.base import chosen, located
from gateway.cli.desk import Desk
from gateway.cli.progress import ensure_runner, follow
from gateway.cli.terminal import err, out, print_json
from gateway.jobs.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `graft advise` was asked for, as far as a bake-off minds it."""

    file: Path | None
    base: str | None
    docs: Path | None
    profile: str
    budget: str
    html: Path | None
    json: bool


def measure(argv: Sequence[str], wanted: Wanted) -> None:
    """`argv`: the advisor's own command, without the flags of how it answers. Raises InvalidInput where there is no file."""
    if wanted.file is None:
        raise InvalidInput("--measure plays methods on rows; give it a file", param="file")
    desk, budget_s = Desk(), seconds_of(wanted.budget)
    found = _asked(argv)
    before = _advice(desk, wanted, measured(found))
    if not wanted.json:
        terminal.show(before, out)
    job = _submit(desk, wanted.file, wanted, budget_s, found)
    ensure_runner(desk)
    job = follow(desk, job, quiet=wanted.json)
    if job.state != "succeeded" or job.result is None:
        raise GraftError(f"{job.id} {job.state}: {(job.error or {}).get('message', 'no reason was left')}")
    scores = [Evidence(**one | {"interval": tuple(one["interval"])}) for one in job.result["evidence"]]
    after = _advice(desk, wanted, [*measured(found), *scores])
    if wanted.html is not None:
        writing.write(after, wanted.html)
    if wanted.json:
        print_json(after.to_json() | {"bakeoff": job.result["bakeoff"], "job": job.id})
        return
    out.print()
    print_outcome(job.result)
    terminal.show(after, out)
    name, draft = job.result["name"], job.result["digest12"]
    out.print(f"the winner is kept as a draft: graft models promote {name} --draft {draft} publishes it", markup=False)
    if wanted.html is not None:
        err.print(f"report written to {wanted.html}", markup=False)


def _asked(argv: Sequence[str]) -> list[dict[str, Any]]:
    """The evidence of the advisor's answer. Its own complaint, where it has one, is the error."""
    with err.status("measuring the rows (about a minute)"):
        done = subprocess.run([*argv, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stdout.strip()
        message = json.loads(said)["error"]["message"] if said.startswith("{") else done.stderr.strip()[-2000:]
        raise GraftError(message)
    evidence: list[dict[str, Any]] = json.loads(done.stdout)["evidence"]
    return evidence


def _advice(desk: Desk, wanted: Wanted, evidence: Sequence[Evidence]) -> Advice:
    base = chosen(desk.settings, wanted.base)
    names = Names(str(wanted.file), base.name, "DOCS" if wanted.docs is None else str(wanted.docs))
    facts = bases.facts(located(base, desk.settings).folder)
    return advise(evidence, facts=facts, names=names, profile=wanted.profile)


def _submit(desk: Desk, file: Path, wanted: Wanted, budget_s: float, evidence: Sequence[dict[str, Any]]) -> Job:
    name = model_name(str(file))
    asked: dict[str, Any] = {
        "base": wanted.base,
        "budget_s": budget_s,
        "profile": wanted.profile,
        "publish": "never",
        "evidence": evidence,
    }
    try:
        return submit(desk, file, name, docs=wanted.docs, **asked)
    except Conflict:
        if wanted.docs is None:
            raise
        return submit(desk, file, name, store=name, **asked)  # the documents of an earlier measuring
