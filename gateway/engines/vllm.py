"""vLLM as a child process: its command line and its environment. vLLM itself is never imported.

Knows nothing of how the process is kept running or spoken to.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from adapters import bases
from adapters.errors import InvalidInput
from gateway.engines.contract import EngineCommand, Slots
from gateway.settings import BaseSetting, Settings


def command(settings: Settings, base: BaseSetting, socket: Path, slots: Slots | None) -> EngineCommand:
    """One API server with one engine: vLLM forbids loading LoRA adapters at run time with more than one."""
    folder = bases.locate(base.model, settings.storage_cache, name=base.name).folder
    argv = (
        # the `vllm` command asks for the metadata of the distribution "vllm", which the CPU build does not have
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(folder),
        "--served-model-name", base.name,
        "--uds", str(socket),
        *((*_lora(slots), *_soft_prompts(folder)) if slots else ()),
        "--max-num-seqs", str(settings.engine_max_in_flight),
        "--max-model-len", str(settings.engine_max_model_len),
        "--dtype", "bfloat16",
        # silence during a long prefill would make proxies between here and the caller hang up
        "--sse-keep-alive-interval", "15",
        *base.flags,
    )  # fmt: skip
    return EngineCommand(argv, _environment(settings))


def _lora(slots: Slots) -> tuple[str, ...]:
    return (
        "--enable-lora",
        "--max-loras", str(slots.max_loras),
        "--max-lora-rank", str(slots.max_lora_rank),
        "--max-cpu-loras", str(slots.max_cpu_loras),
    )  # fmt: skip


def _soft_prompts(folder: Path) -> tuple[str, ...]:
    """Lets an engine with LoRA take soft prompts too; nothing for a base whose linear layers are not told by their names.

    vLLM also wraps the embedding for LoRA, and with its first model runner, the one that the CPU build has, it dies as soon
    as an answer with LoRA shares a batch with a soft prompt: fewer tokens are looked up than the batch has (seen with 0.32).
    LoRA on embeddings is not served anyhow (adapters/intake/weights.py), so only the linear layers are wrapped.
    """
    names = _linear_names(folder)
    return ("--enable-prompt-embeds", "--lora-target-modules", *names) if names else ()


def _linear_names(folder: Path) -> list[str]:
    """How the linear layers of a plain decoder are called; empty for mixtures of experts, towers beside the decoder, and
    what cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        modules = bases.linear_shapes(folder)
    except (OSError, ValueError, InvalidInput):  # vLLM serves more kinds of models than we can read
        return []
    if any(name.endswith("_config") and name not in ("text_config", "quantization_config") for name in config):
        return []
    if any(".experts." in module or module.endswith(".gate") for module in modules):
        return []
    return sorted({module.rpartition(".")[2] for module in modules})


def _environment(settings: Settings) -> dict[str, str]:
    return {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        # the base is a folder by now, and an adapter's folder that went missing must not become a download
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # whole GiB only; read by the CPU build alone
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(settings.engine_kv_cache_gib))),
        # longer than our client keeps a connection, so that the client is always the one to close it
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75",
        # the OpenAI API's own bound on `n`; vLLM's is 16384
        "VLLM_MAX_N_SEQUENCES": "128",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    }
