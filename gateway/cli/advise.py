"""`graft advise`: runs the advisor, which is a program of its own and knows no gateway."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adapters import bases
from gateway import settings
from gateway.cli.base import located
from gateway.cli.facts import NOTHING_STATED, Facts, flags
from gateway.settings import Settings


def advise(
    file: Path | None = None,
    *,
    docs: Path | None = None,
    base: str | None = None,
    facts: Facts = NOTHING_STATED,
    profile: Literal["quality", "cost", "latency"] = "quality",
    fits: Annotated[bool, Parameter(negative="")] = False,
    html: Path | None = None,
    measure: Annotated[bool, Parameter(negative="")] = False,
    budget: str = "15m",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Which method suits this data? An answer with its evidence, from a file, from numbers (--n 250 --shift 0.4), or from both.

    Parameters
    ----------
    file
        JSONL (messages, or prompt and completion) or CSV. May be left out when numbers are stated.
    docs
        A folder of documents that the answers may stand in.
    base
        The base model it is for: smollm2, a folder, or a hub id. Default: with a file, the first base of the settings.
    profile
        What counts most.
    fits
        Show which sizes of bases the machine can run and tune, and nothing else.
    html
        Write a report with charts to this file; it needs no network to be read.
    measure
        Then play the leading methods on the rows, through the running gateway, and advise again by what they scored.
    budget
        Time that --measure may take, as 90s, 15m or 1h.
    json
        Print JSON.
    """
    setting = settings.load()
    argv = [sys.executable, "-m", "advisor", *([str(file)] if file else []), *flags(facts), f"--profile={profile}"]
    if docs is not None:
        argv += ["--docs", str(docs)]
    if base is not None or (file is not None and not fits):
        argv += _base(base, setting)
    if measure:
        from gateway.cli import measured  # it opens the database, which nothing else here needs

        measured.measure(
            argv, measured.Wanted(file=file, base=base, docs=docs, profile=profile, budget=budget, html=html, json=json)
        )
        return
    if html is not None:
        argv += ["--html", str(html)]
    argv += [flag for flag, is_said in (("--fits", fits), ("--json", json)) if is_said]
    os.execv(sys.executable, argv)  # noqa: S606  # the advisor's exit status and output are ours


def _base(base: str | None, setting: Settings) -> list[str]:
    known = {served.name: served for served in setting.bases}
    chosen = known.get(base or setting.bases[0].name) or settings.BaseSetting(bases.default_name(str(base)), str(base))
    return ["--base", str(located(chosen, setting).folder), "--base-name", chosen.name]
