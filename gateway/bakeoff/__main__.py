"""`python -m gateway.bakeoff FOLDER`: does a bake-off that was accepted, or goes on with it; the job runner's child.

Exit codes: 0 done (result.json), 1 an error (failure.json), 75 interrupted and to be started again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

from adapters.errors import GraftError, Interrupted
from adapters.registry import Registry, write_whole
from adapters.tuning.progress import Progress
from advisor.bakeoff.contract import Cell, Outcome
from advisor.bakeoff.playing import bake_off
from gateway import settings
from gateway.address import address
from gateway.bakeoff import cells
from gateway.bakeoff.asking import Asker
from gateway.bakeoff.making import FAILURE, RESULT
from gateway.bakeoff.naming import tidy
from gateway.bakeoff.player import GatewayPlayer
from gateway.bakeoff.preparing import Prepared, prepared
from gateway.bakeoff.request import Request, read_request
from gateway.bakeoff.telling import Telling
from gateway.bakeoff.winning import crowned
from gateway.db.database import open_database
from gateway.db.names import Names
from gateway.db.retirement import Retirement
from gateway.jobs.runner import EX_TEMPFAIL

BEFORE = "before.json"


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    if (folder / RESULT).is_file():
        return 0
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        write_whole(folder / RESULT, json.dumps(asyncio.run(_work(folder))))
    except Interrupted as stopped:
        print(stopped.message, file=sys.stderr)
        return EX_TEMPFAIL
    except GraftError as error:
        _fail(folder, {"code": error.code, "message": error.message, "param": error.param})
        return 1
    except Exception as error:
        _fail(folder, {"code": "internal_error", "message": f"{type(error).__name__}: {error}", "param": None})
        raise
    return 0


async def _work(folder: Path) -> dict[str, Any]:
    setting, request = settings.load(), read_request(folder)
    stopping = asyncio.Event()
    for what in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(what, stopping.set)
    names = Names(open_database(setting.database_url), Registry(setting.models))
    tidy(setting, names)  # what this bake-off left when it was killed
    progress = Progress(folder)
    try:
        progress.event("stage", stage="planning")
        decided = await asyncio.to_thread(prepared, folder, request)
        if stopping.is_set():
            raise Interrupted("the bake-off was asked to stop before it played anything")
        outcome = await _played(folder, request, decided, setting, names, progress, stopping)
    finally:
        progress.close()
    return crowned(request, decided, outcome, names.registry)


async def _played(
    folder: Path, request: Request, decided: Prepared, setting: settings.Settings, names: Names, progress: Progress,
    stopping: asyncio.Event,
) -> Outcome:  # fmt: skip
    known = cells.known(folder)
    telling, numbers = Telling(progress, decided.arms, decided.plan, known), iter(range(len(known), sys.maxsize))
    player = GatewayPlayer(
        folder, request, decided, setting, names, Retirement(names.database, names.registry),
        Asker(address(setting), setting.server_api_key), asyncio.get_running_loop(), stopping, telling.stage,
    )  # fmt: skip

    def keep(cell: Cell) -> None:
        cells.keep(folder, next(numbers), cell)
        telling.end(cell)

    plan = dataclasses.replace(decided.plan, played=await asyncio.to_thread(_played_before, folder, player))
    # in a thread of its own: it waits for each cell, and the loop is where cells are played and signals heard
    return await asyncio.to_thread(bake_off, decided.arms, plan, player, known=known, on_begin=telling.begin, on_cell=keep)


def _played_before(folder: Path, player: GatewayPlayer) -> tuple[str, ...]:
    """Looked up once, so that a bake-off that goes on after a kill is the same one."""
    file = folder / BEFORE
    if not file.is_file():
        write_whole(file, json.dumps(player.played_before()))
    return tuple(json.loads(file.read_bytes()))


def _fail(folder: Path, failure: dict[str, Any]) -> None:
    write_whole(folder / FAILURE, json.dumps(failure))
    print(f"error: {failure['message']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
