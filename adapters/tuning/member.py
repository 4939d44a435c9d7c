"""One of the processes that train a run together: `python -m adapters.tuning.member FOLDER ddp|fsdp2`.

Started by `several`, which says in the environment which one it is. It reads what the run's own process has read and made,
and trains; the first of them speaks and writes for all. Knows no stage before or after training.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.errors import GraftError, Interrupted
from adapters.registry import write_whole
from adapters.tuning.progress import Progress
from adapters.tuning.several import FAILURE, TRY_AGAIN, Processes

if TYPE_CHECKING:
    from adapters.tuning.ranks import Ranks


class Shared(Progress):
    """Asked to stop is what any of the processes was asked, so that all stop at the same step. Only the first speaks."""

    def __init__(self, folder: Path, stop: threading.Event | None, ranks: Ranks) -> None:
        self._ranks, self._speaks = ranks, False
        super().__init__(folder, stop)

    def stopping(self) -> bool:
        return self._ranks.any(self.stop.is_set())

    def event(self, kind: str, **fields: Any) -> None:
        if self._speaks:
            super().event(kind, **fields)

    def begin(self) -> None:
        """What is said before, the run's own process has said."""
        self._speaks = self._ranks.rank == 0


def main(folder: Path, sharding: str) -> int:
    stop = threading.Event()
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: stop.set())
    try:
        _learn(folder, sharding, stop)
    except Interrupted:
        return TRY_AGAIN
    except Exception as error:
        known = isinstance(error, GraftError)
        said = {
            "code": error.code if isinstance(error, GraftError) else None,
            "message": error.message if isinstance(error, GraftError) else f"{type(error).__name__}: {error}",
            "param": error.param if isinstance(error, GraftError) else None,
        }
        write_whole(folder / FAILURE, json.dumps(said))
        if not known:
            raise
        return 1
    return 0


def _learn(folder: Path, sharding: str, stop: threading.Event) -> None:
    import torch

    from adapters.tuning.contexts import with_contexts
    from adapters.tuning.making import Making
    from adapters.tuning.material import fit, read
    from adapters.tuning.ranks import Ranks
    from adapters.tuning.request import read_request

    ranks = Ranks()
    progress = Shared(folder, stop, ranks)
    request = read_request(folder)
    data, parts = read(folder, request)
    parts = with_contexts(folder, parts)
    processes = Processes(ranks.count, sharding)
    # that all of them fit was found before there were any
    material = fit(folder, request, data, parts, progress, processes, available=math.inf)
    making = Making(material, progress, processes)
    progress.begin()
    making.learn()
    progress.close()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    status = main(Path(sys.argv[1]), sys.argv[2])
    sys.stdout.flush()
    sys.stderr.flush()
    # at once: what else runs at an interpreter's end may wait for processes that are gone
    os._exit(status)
