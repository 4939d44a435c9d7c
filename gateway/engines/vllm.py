"""vLLM as a child process: its command line and its environment. vLLM itself is never imported.

Knows nothing of how the process is kept running or spoken to.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from adapters import bases
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
        *(_lora(slots) if slots else ()),
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
