"""How well peak memory is foretold: the formula's figure beside the real peak, each configuration in a process of its own.

On a CPU the peak is the process's (VmHWM), with all it has loaded; within 15 %. With `--device cuda` it is what torch's
allocator had reserved (`torch.cuda.max_memory_reserved`), at shapes of 0.1 to 8 billion random weights; within 10 %.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from adapters.tuning.machine import GIB, available_gib
from adapters.tuning.memory import Estimate, stages
from tests.bench.peaks import Case, predicted, run

BOUND = {"cpu": 0.15, "cuda": 0.10}
CASES: dict[str, Case] = {
    "lora, 8 short rows": Case("smollm2", "lora", 8, 128, 64),
    "lora, 8 long rows": Case("smollm2", "lora", 8, 384, 64),
    "lora, 2 rows of 1024": Case("smollm2", "lora", 2, 1024, 512),
    "lora, 32 rows": Case("smollm2", "lora", 32, 96, 16),
    "lora r 64, attention": Case("smollm2", "lora", 8, 256, 128, {"rank": 64, "targets": "attention"}),
    "lora, checkpointing": Case("smollm2", "lora", 8, 512, 128, {"gradient_checkpointing": True}),
    "dora r 8": Case("smollm2", "lora", 4, 256, 64, {"rank": 8, "variant": "dora"}),
    "lora, dpo": Case("smollm2", "lora", 4, 256, 64, {"objective": "dpo"}),
    "full, mixed": Case("smollm2", "full", 4, 256, 64),
    "full, mixed, summed": Case("smollm2", "full", 4, 256, 64, {"batch_size": 8}),
    "full, pure": Case("smollm2", "full", 4, 256, 64, {"precision": "pure"}),
    "prompt_tuning": Case("smollm2", "prompt_tuning", 8, 240, 64),
    "continued, lora r 64": Case("smollm2", "continued_pretraining", 4, 512, 512, {"rank": 64}),
    "head, unfrozen base": Case("smollm2", "head", 8, 128, 1, {"backbone": "base", "unfreeze_epochs": 1}),
    "few_shot": Case("smollm2", "few_shot", 16, 512, 28),
    "gemma, lora": Case("gemma3-270m", "lora", 8, 128, 32),
    "0.36 B, lora": Case("0.36", "lora", 4, 256, 64),
    "1 B shape, 4 layers": Case("1.24", "lora", 2, 512, 64, layers=4),
}  # fmt: skip
PURE = {"precision": "pure"}
GPU_CASES: dict[str, Case] = {
    "0.1 B lora": Case("0.135", "lora", 16, 1024, 512),
    "0.1 B qlora": Case("0.135", "qlora", 16, 1024, 512),
    "0.1 B full": Case("0.135", "full", 8, 1024, 512),
    "1 B lora": Case("1.24", "lora", 4, 2048, 1024),
    "1 B qlora": Case("1.24", "qlora", 4, 2048, 1024),
    "1 B full": Case("1.24", "full", 2, 2048, 1024),
    "3 B lora": Case("3.21", "lora", 2, 2048, 1024),
    "3 B qlora": Case("3.21", "qlora", 2, 2048, 1024),
    "3 B full": Case("3.21", "full", 1, 2048, 1024),
    "8 B lora": Case("8.03", "lora", 1, 4096, 2048),
    "8 B lora, checkpointing": Case("8.03", "lora", 4, 4096, 2048, {"gradient_checkpointing": True}),
    "8 B qlora": Case("8.03", "qlora", 1, 4096, 2048),
    "8 B full, pure": Case("8.03", "full", 1, 1024, 512, PURE),
}
HEADER = f"{'configuration':26} {'predicted GiB':>13} {'measured GiB':>12} {'ratio':>6}"


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench memory", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", default="", help="configurations whose name holds this")
    parser.add_argument("--one", default="", help="run this one here and print its peak, in GiB")
    parser.add_argument("--toy", action="store_true", help="the GPU's configurations, tiny and on this CPU: does it run at all")
    asked = parser.parse_args(flags)
    if asked.one:
        print(f"peak {peak_here(CASES[asked.one]):.4f}")
        return
    if asked.toy:
        _toys()
        return
    cases = {name: case for name, case in (CASES if asked.device == "cpu" else GPU_CASES).items() if asked.only in name}
    print(HEADER, flush=True)
    wrong = [name for name, case in cases.items() if not _compare(name, case, asked.device)]
    if wrong:
        print(f"outside {BOUND[asked.device]:.0%}: {', '.join(wrong)}")
        sys.exit(1)


def foretell(case: Case, device: str) -> Estimate:
    """Of the stage that the case carries out; a whole run has others besides."""
    wanted = "answers" if case.method == "few_shot" else "training"
    return next(one for one in stages(case.facts(), predicted(case, device)) if one.stage == wanted)


def _compare(name: str, case: Case, device: str) -> bool:
    """Prints the line; whether the two figures agree, or there is nothing to compare."""
    foretold = foretell(case, device)
    expected = foretold.gib - (foretold.parts["runtime"] if device == "cuda" else 0.0)  # which torch does not count
    if device == "cuda" and (reason := _cannot(case, foretold.gib)):
        print(f"{name:26} {expected:13.2f} {'-':>12} {'-':>6}  {reason}", flush=True)
        return True
    more = ""
    if device == "cpu":
        real = peak_apart(name)
    else:
        real, allocated = _peak_on_gpu(case)
        more = f"  ({allocated:.2f} allocated)"
    ratio = expected / real
    print(f"{name:26} {expected:13.2f} {real:12.2f} {ratio:6.2f}{more}", flush=True)
    return abs(ratio - 1) <= BOUND[device]


def _cannot(case: Case, needed_gib: float) -> str:
    if case.method == "qlora" and find_spec("bitsandbytes") is None:
        return "skipped: bitsandbytes is not installed"
    have = available_gib()
    return f"skipped: {needed_gib:.1f} GiB do not fit into {have:.1f}" if needed_gib > have else ""


def peak_apart(name: str) -> float:
    """GiB of a fresh process that does this configuration of `CASES`."""
    argv = [sys.executable, "-m", "tests.bench", "memory", "--one", name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("peak ")]
    if done.returncode or not said:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return float(said[-1].split()[1])


def peak_here(case: Case) -> float:
    """GiB this process had at most, after doing the case; for a process that did nothing else."""
    run(case, case.facts(), "cpu")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["VmHWM"].split()[0]) * 1024 / GIB


def _peak_on_gpu(case: Case) -> tuple[float, float]:
    """GiB reserved and allocated at most. All in one process: starting one takes longer than most of them."""
    import torch

    run(case, case.facts(), "cuda", keeps_files=False)  # what is written goes through main memory
    peaks = torch.cuda.max_memory_reserved() / GIB, torch.cuda.max_memory_allocated() / GIB
    gc.collect()
    torch.cuda.empty_cache()
    return peaks


def _toys() -> None:
    for name, case in GPU_CASES.items():
        if case.method == "qlora" and find_spec("bitsandbytes") is None:
            print(f"{name:26} skipped: bitsandbytes is not installed")
            continue
        facts = replace(case.facts(), hidden=64, layers=2, vocab=512, heads=2, kv_heads=1, head_dim=32, intermediate=128)
        run(replace(case, longest=64, learned=32), facts, "cpu", keeps_files=False)
        print(f"{name:26} runs")
