"""Base models: from a name, a folder or a hub id to a folder of safetensors, and plain facts about it.

`locate` and `facts` need no torch; `open_model` and `open_tokenizer` are the doors that load weights and vocabulary.
Knows no engine and no adapter.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import embedded
from adapters.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# transformers loads bitsandbytes wherever it is installed, which then warns of optional kernels that nobody asked for
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

EMBEDDING = re.compile(r"(^|\.)(\w*embed\w*|wte|wpe)$")
"""How model classes name the layers that look a token up."""


@dataclass(frozen=True, slots=True)
class Base:
    name: str
    folder: Path
    """Absolute; holds config.json, tokenizer files and *.safetensors."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What memory and rules need to know of a decoder, read from config.json and the safetensors headers."""

    params: int
    hidden: int
    layers: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    context: int
    tied: bool
    bytes_per_param: float
    digest: str
    """sha256 over config.json and the headers: cheap, and different for another shape or dtype."""

    @property
    def params_b(self) -> float:
        return self.params / 1e9


def locate(model: str, cache: Path, *, name: str | None = None) -> Base:
    """The base named by an embedded name (`smollm2`), a folder, or a hub id (`Org/model`), prepared if need be.

    A hub id is downloaded by huggingface_hub into its own cache and needs a network the first time.
    """
    if model in embedded.EMBEDDED:
        return Base(name or model, embedded.prepare(model, cache))
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InvalidInput(f"{folder} has no config.json, so it is not a Hugging Face model folder", param="model")
        return Base(name or default_name(folder.name), folder.resolve())
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not model.startswith((".", "/")):
        return Base(name or default_name(model.split("/")[1]), _download(model))
    known = ", ".join(sorted(embedded.EMBEDDED))
    raise NotFound(f"'{model}' is no folder here, no hub id (Org/name) and no embedded base ({known})", param="model")


def at_hand(model: str, cache: Path) -> Path | None:
    """The base's folder if it needs neither preparation nor download; None otherwise."""
    if model in embedded.EMBEDDED:
        return embedded.prepare(model, cache) if embedded.is_prepared(model, cache) else None
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return folder.resolve()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # no hub id either
        return None
    folder = Path(found).parent if isinstance(found, str) else folder
    # a download that was cut short has its config already
    return folder.resolve() if any(folder.glob("*.safetensors")) else None


def default_name(folder_name: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", folder_name.lower()).strip("-._") or "base"


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
        return Path(snapshot_download(hub_id, allow_patterns=patterns)).resolve()
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"the hub has no model '{hub_id}' that you may read; check the id and HF_TOKEN", param="model"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise NotFound(f"'{hub_id}' could not be downloaded ({error}); give a local folder instead", param="model") from error


def facts(folder: Path) -> BaseFacts:
    """Raises InvalidInput where config.json lacks what a decoder has, or no safetensors file is there."""
    raw = (folder / "config.json").read_bytes()
    config = json.loads(raw)
    config = config.get("text_config", config)
    digest = hashlib.sha256(raw)
    params = size_bytes = 0
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidInput(f"{folder} holds no *.safetensors; Graft reads no pickled weights", param="model")
    for file in files:
        header = tensor_header(file)
        digest.update(json.dumps(header, sort_keys=True).encode())
        for tensor in header.values():
            count = 1
            for side in tensor["shape"]:
                count *= side
            params += count
            size_bytes += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    try:
        heads = config["num_attention_heads"]
        return BaseFacts(
            params=params, hidden=config["hidden_size"], layers=config["num_hidden_layers"], vocab=config["vocab_size"],
            heads=heads, kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            intermediate=config["intermediate_size"], context=config["max_position_embeddings"],
            tied=bool(config.get("tie_word_embeddings", False)), bytes_per_param=size_bytes / params, digest=digest.hexdigest(),
        )  # fmt: skip
    except KeyError as error:
        raise InvalidInput(f"{folder}/config.json has no {error}, so it is not a decoder Graft knows", param="model") from error


def linear_shapes(folder: Path) -> dict[str, tuple[int, int]]:
    """Module name → (inputs, outputs) of every linear layer with weights of its own, from the safetensors headers.

    Linear layers store [outputs, inputs]. Embeddings are left out, and so is an output layer that is tied to one.
    """
    shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        for tensor, described in tensor_header(file).items():
            module, _, kind = tensor.rpartition(".")
            if kind == "weight" and len(described["shape"]) == 2 and EMBEDDING.search(module) is None:
                outputs, inputs = described["shape"]
                shapes[module] = (inputs, outputs)
    return shapes


def tensor_header(file: Path) -> dict[str, dict[str, Any]]:
    """Name → {dtype, shape, data_offsets} of a safetensors file, its weights unread."""
    try:
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > 100_000_000:  # the format's own bound
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, dict[str, Any]] = json.loads(handle.read(length))
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is not a safetensors file ({error})", param="model") from error
    header.pop("__metadata__", None)
    return header


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def open_model(folder: Path, dtype: torch.dtype, *, bits: int = 16) -> PreTrainedModel:
    """With 4 bits the linear layers are held in NF4, twice quantised, and computed in `dtype` (Dettmers et al., 2023,
    arXiv 2305.14314); raises InvalidInput where bitsandbytes is not installed."""
    from transformers import AutoModelForCausalLM

    more: dict[str, Any] = {}
    if bits == 4:
        more = {"quantization_config": _four_bits(dtype), "device_map": {"": _current_device()}}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True, attn_implementation="sdpa", **more)


def _four_bits(dtype: torch.dtype) -> Any:
    import importlib.util

    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise InvalidInput(
            "qlora needs bitsandbytes, which is not installed here (pip install 'graft-llm[qlora]'); lora needs no more than "
            "the base in 16 bits",
            param="method",
        )
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _current_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
