"""`graft advise`: runs the advisor, which is a program of its own and knows no gateway."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters import bases
from gateway import settings
from gateway.cli.base import located


def advise(
    file: Path | None = None,
    *,
    docs: Path | None = None,
    base: str | None = None,
    gpu_gib: float | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    stated: Annotated[tuple[str, ...], Parameter(name="--stated", negative="", consume_multiple=True)] = (),
) -> None:
    """Which method suits this data? An answer with its evidence.

    Parameters
    ----------
    file
        JSONL (messages, or prompt and completion) or CSV. May be left out when numbers are stated.
    docs
        A folder of documents that the answers may stand in.
    base
        The base model it is for: smollm2, a folder, or a hub id. Default: the first base of the settings.
    gpu_gib
        Memory to plan for, in GiB. Default: what this machine has.
    json
        Print the advice as JSON.
    stated
        What you know and the data cannot tell: `--stated knowledge_changes=true queries_per_day=500`.
    """
    setting = settings.load()
    argv = [sys.executable, "-m", "advisor", *([str(file)] if file else [])]
    if docs is not None:
        argv += ["--docs", str(docs)]
    if gpu_gib is not None:
        argv += ["--gpu-gib", str(gpu_gib)]
    if file is not None:
        known = {served.name: served for served in setting.bases}
        chosen = known.get(base or setting.bases[0].name) or settings.BaseSetting(bases.default_name(str(base)), str(base))
        argv += ["--base", str(located(chosen, setting).folder), "--base-name", chosen.name]
    for pair in stated:
        name, _, value = pair.partition("=")
        argv += [f"--{name.replace('_', '-')}", value]
    if json:
        argv.append("--json")
    os.execv(sys.executable, argv)  # noqa: S606  # the advisor's exit status and output are ours
