"""Ingest workers, kept warm: a few processes that take one request each at a time, and end when nobody needs them.

A worker that dies, or is silent for too long, is ended and the request's owner told; the next request gets a new one.
Knows what a worker is asked only as JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapters.errors import GraftError
from gateway import children

AT_ONCE = 2
"""While one reads a file, the other waits for the encoder or builds an index."""
START_S = 120.0
"""A worker takes a second to start, on a busy machine several."""
SILENCE_S = 120.0
"""A file whose reading gives no sign of life for so long is not read to its end."""
IDLE_S = 60.0
"""A worker that nobody has asked for so long ends: its memory is about 150 MiB."""
MEMORY_GIB = 2.0
"""By how much a worker may grow over one file: a hundred times the text of a long book."""
THREADS = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2"}
"""Each thread takes addresses, which are what a worker's memory is bounded by."""


class WorkerDied(GraftError):
    """The message says how."""


class Workers:
    def __init__(
        self, argv: Callable[[], Sequence[str]], *, log_file: Path, at_once: int = AT_ONCE, silence_s: float = SILENCE_S
    ) -> None:
        """`argv`: asked whenever a worker is started; what it raises, `ask` raises."""
        self._argv, self._log_file, self._silence_s = argv, log_file, silence_s
        self.at_once = at_once
        self._turns = asyncio.Semaphore(at_once)
        self._idle: list[tuple[Process, asyncio.TimerHandle]] = []
        self._stopping = False

    async def ask(self, request: dict[str, Any], *, is_bounded: bool = True) -> dict[str, Any]:
        """The worker's answer. Raises WorkerDied; with `is_bounded`, also after `silence_s` without a word."""
        async with self._turns:
            worker = self._take() or await self._start()
            try:
                answer = await self._exchange(worker, request, self._silence_s if is_bounded else None)
            except BaseException:
                await children.end(worker, grace_s=0.0)
                raise
        self._put_back(worker)
        return answer

    async def stop(self) -> None:
        self._stopping = True
        while (worker := self._take()) is not None:
            await children.end(worker, grace_s=0.0)

    async def _exchange(self, worker: Process, request: dict[str, Any], silence_s: float | None) -> dict[str, Any]:
        assert worker.stdin is not None  # a pipe, see _start
        try:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            await worker.stdin.drain()
            while line := await _line(worker, silence_s):
                answer: dict[str, Any] = json.loads(line)
                if "beat" not in answer:
                    return answer
        except TimeoutError:
            raise WorkerDied(f"it gave no sign of life for {silence_s:.0f} s") from None
        except ConnectionError:
            pass  # it died before it had read the request: its status says how
        raise WorkerDied(_how(await worker.wait()))

    async def _start(self) -> Process:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            worker = await children.start(self._argv(), environment=THREADS, stdin=PIPE, stdout=PIPE, stderr=log)
        try:
            if await _line(worker, START_S):
                return worker
            how = _how(await worker.wait())
        except TimeoutError:
            how = f"it did not start within {START_S:.0f} s"
        except BaseException:
            await children.end(worker, grace_s=0.0)
            raise
        await children.end(worker, grace_s=0.0)
        raise GraftError(f"the ingest worker cannot work ({how}); {self._log_file} says why")

    def _take(self) -> Process | None:
        """An idle worker that lives; the one used last, so that the others can end."""
        while self._idle:
            worker, timer = self._idle.pop()
            timer.cancel()
            if worker.returncode is None:
                return worker
        return None

    def _put_back(self, worker: Process) -> None:
        if self._stopping:
            children.signal_group(worker.pid, signal.SIGKILL)
            return
        timer = asyncio.get_running_loop().call_later(IDLE_S, self._let_go, worker)
        self._idle.append((worker, timer))

    def _let_go(self, worker: Process) -> None:
        self._idle = [(one, timer) for one, timer in self._idle if one is not worker]
        if worker.stdin is not None:
            with suppress(ConnectionError):
                worker.stdin.close()  # it ends at the end of its input


async def _line(worker: Process, within_s: float | None) -> bytes:
    """Empty where it has ended. Raises TimeoutError."""
    assert worker.stdout is not None  # a pipe
    async with asyncio.timeout(within_s):  # wait_for of 3.11 may lose a cancellation
        return await worker.stdout.readline()


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "it was killed: by hand, or by the kernel for want of memory"
    if status < 0:
        return f"it crashed ({signal.Signals(-status).name})"
    return f"it ended with status {status}"


def command(socket: Path, tokenizer: Path, memory_gib: float = MEMORY_GIB) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.stores.worker", str(socket), str(tokenizer), str(memory_gib))
