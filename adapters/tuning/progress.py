"""What a run says while it works, line by line in its folder's metrics.jsonl, and whether it was asked to stop.

Whoever watches reads the file; the run neither knows nor minds. Knows no loop and no stage.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from pathlib import Path
from typing import Any

from adapters.errors import Interrupted

METRICS_FILE = "metrics.jsonl"


class Progress:
    def __init__(self, folder: Path, stop: threading.Event | None = None) -> None:
        self.folder = folder
        self.stop = stop or threading.Event()
        _drop_torn_line(folder / METRICS_FILE)
        self._file = (folder / METRICS_FILE).open("a", buffering=1)

    def within(self, name: str) -> Progress:
        """The same run, with a folder of its own inside this one for what a second training keeps."""
        inner = copy.copy(self)
        inner.folder = self.folder / name
        inner.folder.mkdir(exist_ok=True)
        return inner

    def event(self, kind: str, **fields: Any) -> None:
        """Appends `{"event": kind, "time": unix seconds, …}`, visible to readers when this returns."""
        self._file.write(json.dumps({"event": kind, "time": round(time.time(), 3)} | fields) + "\n")

    def stopping(self) -> bool:
        """Whether the run was asked to stop."""
        return self.stop.is_set()

    def raise_if_stopped(self) -> None:
        if self.stopping():
            raise Interrupted("the run was asked to stop; start it again and it goes on where it was")

    def close(self) -> None:
        self._file.close()


def _drop_torn_line(path: Path) -> None:
    """A kill can tear the last line; what comes after it must not be glued to the torn half."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        said = file.read()
        file.truncate(said.rfind(b"\n") + 1)
