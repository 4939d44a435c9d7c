"""An adapter merged into a copy of its base: a checkpoint that an engine serves without LoRA, at the base's speed.

Knows no engine; that the merged model answers as the unmerged one did is proven by the probe, after it was loaded.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from adapters.adapted_model import AdapterRef
from adapters.errors import Conflict, Unservable
from adapters.tuning.adapted import open_adapted
from adapters.tuning.model_folder import write_model


def merge(base_folder: Path, adapter_folder: Path, out: Path) -> AdapterRef:
    """Writes base + adapter as a Hugging Face folder, summed in fp32 and rounded once to bf16, weights in one file.

    Needs 4 bytes of memory for each of the base's weights. Raises Conflict where `out` exists, Unservable where the
    adapter does not fit the base or changes its embedding, which a tied base also uses to make its output.
    """
    import torch

    if out.exists():
        raise Conflict(f"{out} exists; name a folder that does not", param="out")
    adapted = open_adapted(base_folder, adapter_folder, torch.float32)
    _refuse_tied(adapted)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise Unservable(f"{adapter_folder.name} cannot be merged: {error}", code="adapter_not_finite") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        ref = write_model(merged.to(torch.bfloat16), base_folder, beside)
        os.rename(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return ref


def _refuse_tied(adapted: Any) -> None:
    """Raises Unservable where the adapter sits on the embedding or the output of a base that shares one matrix for both."""
    model = adapted.get_base_model()
    if not model.config.tie_word_embeddings:
        return
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if hasattr(layer, "base_layer"):
            raise Unservable(
                "the adapter changes the embedding or the output layer, and its base uses one matrix for both: merged, it "
                "would change both; serve it unmerged",
                code="adapter_changes_tied_weights", param="adapter",
            )  # fmt: skip
