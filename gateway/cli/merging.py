"""A LoRA adapter merged into a copy of its base: as a folder, or as a version that is served by an engine of its own.

The work is a process of its own, because this one has no torch.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.errors import GraftError, InvalidInput
from adapters.registry import INCOMING
from gateway.cli.base import chosen, located
from gateway.cli.desk import Desk
from gateway.cli.terminal import err


def merge(desk: Desk, model: AdaptedModel, out: Path) -> AdapterRef:
    """Writes the merged model as a Hugging Face folder, whole or not at all."""
    base_folder = located(chosen(desk.settings, model.base), desk.settings).folder
    argv = [
        sys.executable, "-m", "adapters", "merge", "--base-folder", str(base_folder),
        "--adapter", str(desk.registry.adapter_folder(model)), "--out", str(out),
    ]  # fmt: skip
    with err.status(f"merging {model.pinned} into a copy of {model.base}"):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GraftError(f"{model.pinned} could not be merged: {done.stderr.strip()[-2000:]}")
    return AdapterRef(**json.loads(done.stdout))


def merged_version(desk: Desk, model: AdaptedModel) -> int:
    """The model with its adapter merged into a copy of its base, as a further version of the same name."""
    if model.adapter is None or model.adapter.kind != "lora":
        raise InvalidInput(f"{model.pinned} has no LoRA adapter that could be merged", param="version")
    with tempfile.TemporaryDirectory(prefix=INCOMING, dir=desk.registry.root) as scratch:
        ref = merge(desk, model, Path(scratch) / "merged")
        lineage = dataclasses.replace(model.lineage, parent=model.pinned, recipe=model.lineage.recipe | {"merged": True})
        merged = dataclasses.replace(model, version=0, adapter=ref, lineage=lineage)
        # the unmerged adapter's probe: the merged weights must answer what was recorded of it
        draft = desk.registry.add(merged, Path(scratch) / "merged", probe=desk.registry.probe(model))
    return desk.registry.publish(draft).version
