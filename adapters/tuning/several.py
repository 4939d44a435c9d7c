"""Training by several processes of this machine: whether that can be, and a group of them started, watched and ended.

Each is `python -m adapters.tuning.member`, finds the others through torch's own store, and dies with this process. What
they do is none of this file's business; what they leave is a run's checkpoint and best weights. Knows no model.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import Interrupted, InvalidInput

SHARDINGS = ("ddp", "fsdp2")
"""`ddp`: every process holds the whole model and learns from a part of each batch. `fsdp2`: weights, gradients and Adam's
moments are split over the processes as well, and gathered layer by layer when they are needed."""
MOST = 64
TRY_AGAIN = 75
"""Exit status of a process that was asked to stop and left a checkpoint: EX_TEMPFAIL of sysexits.h."""
FAILURE = "several.json"
LOOK_S = 0.2
"""How often a wish to stop is looked for: it cannot be awaited together with the end of a process."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes train one model, and what they share. Raises InvalidInput for a number or a word not known."""

    count: int = 1
    sharding: str = "ddp"

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise InvalidInput(f"processes must be from 1 to {MOST}, not {self.count}", param="processes")
        if self.sharding not in SHARDINGS:
            raise InvalidInput(f"sharding must be one of {', '.join(SHARDINGS)}, not '{self.sharding}'", param="sharding")


ONE = Processes()


def used(asked: Processes, name: str) -> Processes:
    """How a method of this name trains when that many processes are asked for: heads and soft prompts, small as they are,
    by one. Raises InvalidInput for what cannot be done together; asks no hardware."""
    from adapters.methods.table import method  # settings are read by processes that need no method

    adapts = method(name)
    if asked.count == 1 or adapts.weights is None or adapts.weights.kind not in ("lora", "checkpoint"):
        return ONE
    if adapts.bits == 4 and asked.sharding == "fsdp2":
        raise InvalidInput(
            f"{name} cannot be split by fsdp2 (weights in 4 bits do not survive it: huggingface/accelerate issue 3874); "
            "take ddp, or lora",
            param="sharding",
        )
    return asked


def check_devices(processes: Processes) -> None:
    """Raises InvalidInput where there are GPUs, and fewer than processes. On CPUs any number may share the cores."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else None
    if there is not None and processes.count > there:
        raise InvalidInput(
            f"{processes.count} processes need as many GPUs, and this machine has {there}; ask for {there} or fewer",
            param="processes",
        )


def learn(folder: Path, processes: Processes, stopping: Callable[[], bool]) -> None:
    """Has the run in this folder trained by a group, to its end. The caller holds no model meanwhile.

    Raises Interrupted, resumable, once `stopping` and a checkpoint is written, or where a process was killed; what went
    wrong in one of them else.
    """
    (folder / FAILURE).unlink(missing_ok=True)
    argv = [sys.executable, "-m", "adapters.tuning.member", str(folder), processes.sharding]
    status = together(argv, processes.count, stopping)
    if status == 0:
        return
    if status == TRY_AGAIN:
        raise Interrupted("the run was asked to stop; start it again and it goes on where it was")
    if (folder / FAILURE).is_file():
        said = json.loads((folder / FAILURE).read_bytes())
        if said["code"] is None:
            raise RuntimeError(said["message"])
        raise InvalidInput(said["message"], param=said["param"], code=said["code"])
    if status < 0:
        raise Interrupted(
            f"a training process was ended by {signal.Signals(-status).name}; start the run again and it goes on from its "
            "checkpoint"
        )
    raise RuntimeError(f"a training process ended with status {status}; its output says why")


def together(argv: Sequence[str], count: int, stopping: Callable[[], bool] = lambda: False) -> int:
    """Runs `argv` in so many processes, each with the variables that torch's `env://` reads; the group's exit status.

    That is the first that is neither 0 nor TRY_AGAIN, after which the others are killed: they would wait for it for ever.
    """
    with _meeting_point() as port:
        started = [_start(argv, rank, count, port) for rank in range(count)]
        try:
            return _watched(started, stopping)
        finally:
            for process in started:
                process.kill()
                process.wait()


def _watched(started: Sequence[subprocess.Popen[bytes]], stopping: Callable[[], bool]) -> int:
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    for process in started:
        threading.Thread(target=lambda one: ended.put(one.wait()), args=(process,), daemon=True).start()
    statuses: list[int] = []
    asked = False
    while len(statuses) < len(started):
        try:
            statuses.append(ended.get(timeout=LOOK_S))
        except queue.Empty:
            if stopping() and not asked:
                asked = True
                for process in started:
                    process.send_signal(signal.SIGTERM)
            continue
        if statuses[-1] not in (0, TRY_AGAIN):
            return statuses[-1]
    return max(statuses)


@contextmanager
def _meeting_point() -> Iterator[int]:
    """The port of a store on loopback where the processes of one group find each other."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port: int = listening.getsockname()[1]
        store = TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )  # fmt: skip
        yield port
        del store


def _start(argv: Sequence[str], rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    threads = max(1, (os.cpu_count() or 1) // count)
    # the names are those of torch's launcher, whose place this process takes
    environment = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
    }  # fmt: skip
    unless_set = {"OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=2,  # of a run, standard output is its result
        env=unless_set | dict(os.environ) | environment,
        preexec_fn=_die_with_parent,
    )


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent ends. Runs between fork and exec, so it only calls."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
