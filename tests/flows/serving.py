"""`graft serve` as a person starts it, in a process of its own on a home of its own, for tests to talk to and to hurt."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI

START_S = 240
"""A real vLLM is up in about 45 s on two free cores."""


@dataclass(frozen=True)
class Served:
    url: str
    home: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=120)

    def graft(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The `graft` command, as in a second terminal."""
        argv = [sys.executable, "-m", "gateway.cli.main", *arguments]
        return subprocess.run(argv, env=dict(self.environment), capture_output=True, text=True, check=check)

    def graft_json(self, *arguments: str) -> Any:
        return json.loads(self.graft(*arguments, "--json").stdout)

    def wait_ready(self, path: str = "/health/ready") -> None:
        """Until every engine answers; with `/health/live`, until the gateway does."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.logs()
            try:
                with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.3)  # another process's readiness, asked over HTTP
        raise AssertionError(f"not ready after {START_S} s\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in (self.home / "logs").rglob("*.log")
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(home: Path, *flags: str, **variables: str) -> Iterator[Served]:
    port = free_port()
    environment = {**os.environ, "GRAFT_STORAGE_HOME": str(home), "GRAFT_SERVER_PORT": str(port), **variables}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "serve.log").open("wb") as log:
        argv = [sys.executable, "-m", "gateway.cli.main", "serve", *flags]
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    served = Served(f"http://127.0.0.1:{port}", home, environment, process)
    try:
        served.wait_ready()
        yield served
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def children_of(pid: int) -> list[int]:
    """Every process below this one, nearest first; one that ends meanwhile has none."""
    below: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        below = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    return below + [grandchild for child in below for grandchild in children_of(child)]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes_matching(words: str, below: int) -> list[int]:
    return [pid for pid in children_of(below) if words in command_of(pid)]


def wait_gone(*pids: int) -> None:
    """Until none of these processes runs (one that was ended and not yet buried counts as gone)."""
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while words.read_bytes():
                threading.Event().wait(0.05)
