"""Where the tensors live, and in which precision a base is held. Knows no model."""

from __future__ import annotations

from pathlib import Path

import torch


def device() -> torch.device:
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def dtype() -> torch.dtype:
    """bf16 where the processor computes in it, else fp32: emulated bf16 is several times slower and no smaller in peak."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return torch.bfloat16 if flags & {"avx512_bf16", "amx_bf16"} else torch.float32
