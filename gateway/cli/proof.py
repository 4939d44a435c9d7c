"""From a version that a name wants to one it answers with: waits for a gateway's proof, and makes merged versions.

Reads the database, where the gateway writes what it found; asks no gateway directly.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.errors import GraftError, InvalidInput, Unproven
from gateway.cli.base import located
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


def merged_version(desk: Desk, model: AdaptedModel) -> int:
    """The model with its adapter merged into a copy of its base, as a version of the same name."""
    if model.adapter is None or model.adapter.kind != "lora":
        raise InvalidInput(f"{model.pinned} has no LoRA adapter that could be merged", param="version")
    base = next((base for base in desk.settings.bases if base.name == model.base), None)
    if base is None:
        raise InvalidInput(f"{model.pinned} stands on '{model.base}', which the settings do not name", param="version")
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=desk.registry.root) as folder:
        out = Path(folder) / "merged"
        argv = [
            sys.executable, "-m", "adapters", "merge", "--base-folder", str(located(base, desk.settings).folder),
            "--adapter", str(desk.registry.adapter_folder(model)), "--out", str(out),
        ]  # fmt: skip
        with err.status(f"merging {model.pinned} into a copy of {model.base}"):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GraftError(f"{model.pinned} could not be merged: {done.stderr.strip()[-2000:]}")
        ref = AdapterRef(**json.loads(done.stdout))
        lineage = dataclasses.replace(model.lineage, parent=model.pinned, recipe=model.lineage.recipe | {"merged": True})
        merged = dataclasses.replace(model, version=0, adapter=ref, lineage=lineage)
        # the unmerged adapter's probe rows: the merged weights must give what was recorded for them
        return desk.registry.publish(desk.registry.add(merged, out, probe=desk.registry.probe(model))).version
