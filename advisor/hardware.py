"""Machines by name: memory, speed, bandwidth, power and a usual price, each with where it is from; or a plain size of memory.

Memory is what the driver reports (`nvidia-smi`), not what the box says. Prices move; they are there to be replaced by your own.
Knows no method.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from adapters.errors import InvalidInput
from advisor.evidence import STATED, Evidence

SUSTAINED = 0.3
"""Of the dense peak, while tuning: 26 % was measured at 1 billion parameters and 43 % at 8 (docs/tuning.md, one H100)."""
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(gib|gb|g)")
GIB_PER_GB = 1e9 / 2**30


@dataclass(frozen=True, slots=True)
class Hardware:
    title: str
    memory_gib: float
    bf16_tflops: float
    """Dense peak, sums in fp32."""
    bandwidth_gb_s: float
    watts: float
    """Of the board, at most."""
    price_per_hour: float
    """US dollars, on demand, of one."""
    priced_by: str


_RUNPOD, _AWS = "RunPod's page, autumn 2026", "AWS, us-east-1 list price (as remembered)"

HARDWARE: dict[str, Hardware] = {
    # memory GiB, dense bf16 TFLOP/s, GB/s, W: the makers' data sheets
    "t4": Hardware("NVIDIA T4 (fp16: it has no bf16)", 15.0, 65, 320, 70, 0.526, f"g4dn.xlarge, {_AWS}"),
    "rtx-3090": Hardware("NVIDIA RTX 3090", 24.0, 71, 936, 350, 0.18, "OpenRelay's page, September 2026"),
    "rtx-4090": Hardware("NVIDIA RTX 4090", 24.0, 165, 1008, 450, 0.29, "OpenRelay's page, September 2026"),
    "a10g": Hardware("NVIDIA A10G", 22.5, 70, 600, 300, 1.006, f"g5.xlarge, {_AWS}"),
    "l4": Hardware("NVIDIA L4", 22.5, 121, 300, 72, 0.805, f"g6.xlarge, {_AWS}"),
    "l40s": Hardware("NVIDIA L40S", 45.0, 362, 864, 350, 1.861, f"g6e.xlarge, {_AWS}"),
    "a100-40gb": Hardware("NVIDIA A100 SXM 40 GB", 40.0, 312, 1555, 400, 1.99, "Lambda's page, November 2026"),
    "a100-80gb": Hardware("NVIDIA A100 SXM 80 GB", 80.0, 312, 2039, 400, 1.79, _RUNPOD),
    "h100-pcie": Hardware("NVIDIA H100 PCIe 80 GB", 79.6, 756, 2000, 350, 2.89, _RUNPOD),
    "h100": Hardware("NVIDIA H100 SXM 80 GB", 79.6, 989, 3350, 700, 3.99, _RUNPOD),
    "h200": Hardware("NVIDIA H200 SXM 141 GB", 140.4, 989, 4800, 700, 4.59, _RUNPOD),
    "b200": Hardware("NVIDIA B200 SXM 180 GB", 179.1, 2250, 8000, 1000, 6.79, _RUNPOD),
}


def named(said: str) -> Hardware | float:
    """The machine of that name (`h100`, `RTX 4090`), or a size in GiB (`24GiB`; `24GB` are 22.4).

    Raises InvalidInput that lists the names.
    """
    word = said.strip().lower()
    if (size := SIZE.fullmatch(word)) and float(size[1]) > 0:
        return float(size[1]) * (GIB_PER_GB if size[2] == "gb" else 1.0)
    for name, machine in HARDWARE.items():
        if _plain(name) == _plain(word):
            return machine
    raise InvalidInput(f"gpu must be a size such as 24GiB, or one of {', '.join(HARDWARE)}; '{said}' is neither", param="gpu")


def evidence(said: str) -> list[Evidence]:
    """What is known of it: `gpu_gib`, and of a named one speed, bandwidth, power and price."""
    machine = named(said)
    if isinstance(machine, float):
        return [Evidence("gpu_gib", round(machine, 2), "GiB", STATED)]
    peak = f"{SUSTAINED:g} of the {machine.bf16_tflops:g} of its data sheet, as tuning reached 0.26 to 0.43 of it on an H100"
    sheet = f"{STATED}, as {machine.title}: its data sheet"
    return [
        Evidence("gpu_gib", machine.memory_gib, "GiB", f"{STATED}, as {machine.title}: what its driver reports"),
        Evidence("train_tflops", round(SUSTAINED * machine.bf16_tflops, 1), "TFLOP/s", f"of {machine.title}: {peak}"),
        Evidence("bandwidth_gb_s", machine.bandwidth_gb_s, "GB/s", sheet),
        Evidence("watts", machine.watts, "W", f"{sheet}, of the whole board"),
        Evidence("price_per_hour", machine.price_per_hour, "USD", f"of {machine.title} on demand: {machine.priced_by}"),
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]|nvidia|geforce", "", name)
