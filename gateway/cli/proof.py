"""From a version that a name wants to one it answers with: waits for a gateway's proof.

Reads the database, where the gateway writes what it found; asks no gateway directly.
"""

from __future__ import annotations

import time

from adapters.errors import Unproven
from gateway.cli.desk import Desk
from gateway.cli.terminal import err

LOOK_S = 0.05


def await_proof(desk: Desk, name: str, version: int) -> None:
    """Says what became of it. Raises Unproven with the gateway's reason; returns at once where no gateway is alive."""
    with err.status(f"proving {name}@{version}"):
        while (pointer := desk.names.pointer(name)) is not None and pointer.wanted == version:
            if not desk.retirement.alive():
                err.print(f"{name}@{version} takes the name over when a gateway runs and has proven it (`graft serve`)")
                return
            time.sleep(LOOK_S)  # another process's proof, written into the database: there is nothing to wait on
    if pointer is None or pointer.version != version:
        raise Unproven((pointer and pointer.remark) or f"{name} did not move to version {version}", param="version")
    err.print(f"{name} answers with version {version} now")
