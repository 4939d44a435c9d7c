"""A tuner that learns nothing: `python -m tests.gateway.quick_tuner runner|run|bakeoff FOLDER`.

Its run takes ten steps of 20 ms an epoch, says what a real run says, stops when asked, goes on where it was, and leaves
drafts that a stub engine proves. `runner` is the real runner with this in place of the tuner, `bakeoff` a real bake-off.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.adapted_model import AdaptedModel, AdapterRef, Lineage
from adapters.errors import Interrupted
from adapters.registry import WEIGHTS, Registry, file_digest, write_whole
from adapters.tuning.progress import Progress
from adapters.tuning.request import RunRequest, read_request
from gateway import settings
from gateway.bakeoff import __main__ as bakeoff
from gateway.jobs import runner
from gateway.jobs.runner import EX_TEMPFAIL, Runner, only_runner
from gateway.jobs.tasks import KINDS, Task
from tests.gateway.conftest import PROBE, lora_folder

STEPS_AN_EPOCH, STEP_S = 10, 0.02
FAILING_SEED = 666
"""A run with this seed fails as a real one would: with a reason in its folder."""


def run(folder: Path) -> int:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    request, progress = read_request(folder), Progress(folder, stop)
    try:
        if request.recipe.seed == FAILING_SEED:
            write_whole(folder / "failure.json", json.dumps({"code": "will_not_fit", "message": "too big", "param": "rank"}))
            return 1
        _learn(folder, request, progress)
        _leave(folder, request, progress)
    except Interrupted:
        return EX_TEMPFAIL
    return 0


def _learn(folder: Path, request: RunRequest, progress: Progress) -> None:
    at, steps = folder / "at", request.recipe.epochs * STEPS_AN_EPOCH
    done = int(at.read_text()) if at.exists() else 0
    for step in range(done + 1, steps + 1):
        threading.Event().wait(STEP_S)
        epoch = (step - 1) // STEPS_AN_EPOCH + 1
        pace = {"learning_rate": 1e-3, "tokens": 50, "tokens_per_s": 2500.0, "seconds_left": (steps - step) * STEP_S}
        progress.event("step", step=step, steps=steps, epoch=epoch, loss=2.0 / step, **pace)
        if step % STEPS_AN_EPOCH == 0:
            progress.event("validation", loss=2.5 / step, step=step, epoch=epoch)
        write_whole(at, str(step))
        progress.raise_if_stopped()


def _leave(folder: Path, request: RunRequest, progress: Progress) -> None:
    kept = range(1, request.recipe.epochs + 1)[-request.recipe.keep_checkpoints :] if request.recipe.keep_checkpoints else ()
    checkpoints = {}
    for epoch in kept:
        name = f"{request.name}:ckpt-step-{epoch * STEPS_AN_EPOCH}"
        checkpoints[name] = _draft(request, name, epoch)
        progress.event("checkpoint", step=epoch * STEPS_AN_EPOCH, name=name)
    card = {"metric": "exact_match", "better": request.recipe.seed % 2 == 0, "reason": "made up"}
    digest12 = _draft(request, request.name, 0)
    result = {
        "name": request.name, "digest12": digest12, "better": card["better"], "scorecard": card, "seconds": {},
        "checkpoints": checkpoints,
    }  # fmt: skip
    write_whole(folder / "result.json", json.dumps(result))


def _draft(request: RunRequest, name: str, seed: int) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        files = lora_folder(Path(scratch) / "lora", seed=seed)
        adapter = AdapterRef("lora", file_digest(files / WEIGHTS), 8)
        model = AdaptedModel(name, 0, request.base, adapter, request.template, lineage=Lineage(run=request.run_id))
        return Registry(request.registry).add(model, files, PROBE).digest[:12]


def _in_place(verb: str) -> Callable[[dict[str, Any], settings.Settings], list[str]]:
    return lambda payload, settings: [sys.executable, "-m", "tests.gateway.quick_tuner", verb, payload["run"]]


def main(arguments: list[str]) -> int:
    if arguments[0] == "run":
        return run(Path(arguments[1]))
    KINDS["tune"] = Task(_in_place("run"), KINDS["tune"].settle)
    if arguments[0] == "bakeoff":
        return bakeoff.main(arguments[1:])
    KINDS["bakeoff"] = dataclasses.replace(KINDS["bakeoff"], argv=_in_place("bakeoff"))
    runner.BEAT_S = runner.LOOK_S = 0.1
    setting = settings.load()
    with only_runner(setting.storage_home, wait=True):
        asyncio.run(Runner(setting).work(until_idle=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
