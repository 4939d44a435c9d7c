"""What this machine has to tune with: memory, a GPU or none, a library that holds weights in 4 bits. Loads no torch.

Knows no base and no method.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

GIB = 2**30


def available_gib() -> float:
    """Memory of the largest GPU here, in GiB; without a GPU, main memory that is free, within the container's limit."""
    return gpu_gib() or _ram_gib()


def device_kind() -> str:
    """`cuda` or `cpu`: where a run would tune."""
    return "cpu" if gpu_gib() is None else "cuda"


def quantises() -> bool:
    """Whether qlora can run here."""
    return device_kind() == "cuda" and importlib.util.find_spec("bitsandbytes") is not None


def gpu_gib() -> float | None:
    argv = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    sizes_mib = [float(line) for line in said.split() if line.replace(".", "", 1).isdigit()]
    return max(sizes_mib) / 1024 if sizes_mib else None


def _ram_gib() -> float:
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():  # not Linux: all there is, as free memory is told differently everywhere
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    said = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free_gib = int(said["MemAvailable"].split()[0]) / 2**20
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (bound := limit.read_text().strip()).isdigit():
        return min(free_gib, int(bound) / GIB)
    return free_gib
