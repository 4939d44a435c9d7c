"""A model as a Hugging Face folder of its own, with the tokenizer and the chat template of the base it came from.

Knows not how the weights were made.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from adapters.adapted_model import ADAPTER_KINDS, AdapterRef
from adapters.registry import file_digest

VOCABULARY = ("*.json", "*.jinja", "*.model", "*.txt")
"""What stands around the weights: tokenizer and chat template, taken over as they lie."""
OWN_FILES = ("config.json", "generation_config.json")
"""Written by the model itself."""


def write_model(model: Any, base_folder: Path, folder: Path) -> AdapterRef:
    """Writes the model, in the dtype it has, into a folder that exists and is empty; the weights into one file."""
    model.save_pretrained(folder, max_shard_size="100TB")
    for pattern in VOCABULARY:
        for file in base_folder.glob(pattern):
            if file.name not in OWN_FILES and not file.name.endswith(".index.json"):
                shutil.copyfile(file, folder / file.name)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes 0600, and the engine may run as somebody else
    folder.chmod(0o755)
    return AdapterRef("checkpoint", file_digest(folder / ADAPTER_KINDS["checkpoint"]))
