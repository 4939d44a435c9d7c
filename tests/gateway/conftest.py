"""A gateway as it really runs (granian in a process of its own, a stub engine as its child) and a home with models in it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from adapters.adapted_model import AdaptedModel, AdapterRef, Lineage, Sampling
from adapters.prompts import PromptTemplate, Shot
from adapters.registry import WEIGHTS, Registry, file_digest
from gateway import settings as settings_table
from gateway.db.database import open_database
from gateway.db.names import Names, Pointer
from gateway.db.retirement import Retirement
from gateway.engines.sockets import socket_path
from gateway.settings import Settings

BASE = "tiny"
START_S = 30


def lora_folder(folder: Path, *, rank: int = 8, seed: int = 0) -> Path:
    """PEFT files as far as a registry and a stub look at them: a config, and safetensors with a digest of their own."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    header = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes([seed]))
    return folder


PROBE = {
    "dtype": "bfloat16",
    "rows": [
        {"prompt_ids": [5, 6, 7], "token_ids": [1, 2, 3], "adapted": [-0.1, -3.0, -4.0], "base": [-2.5, -1.0, -3.0]},
        {"prompt_ids": [8, 9], "token_ids": [2, 4], "adapted": [-0.5, -2.0], "base": [-3.5, -0.5]},
    ],
}
"""As recorded at a training's end: with the adapter, the next token is another."""


@dataclass
class Home:
    """A storage.home, written to as the command line and the jobs would."""

    path: Path
    scratch: Path

    @property
    def registry(self) -> Registry:
        return Registry(self.path / "models")

    def publish(
        self,
        name: str,
        *,
        rank: int | None = 8,
        seed: int = 0,
        prompt: PromptTemplate | None = None,
        sampling: Sampling | None = None,
        lineage: Lineage | None = None,
        promote: bool = True,
    ) -> AdaptedModel:
        """A version with its probe; promoted as whoever has proven it would."""
        adapter = files = None
        if rank is not None:
            files = lora_folder(self.scratch / f"{name}-{seed}", rank=rank, seed=seed)
            adapter = AdapterRef("lora", file_digest(files / WEIGHTS), rank)
        model = AdaptedModel(name, 0, BASE, adapter, prompt, sampling=sampling or Sampling(), lineage=lineage or Lineage())
        published = self.registry.publish(self.registry.add(model, files, PROBE if files else None))
        if promote:
            self.names.promote(name, published.version)
        return published

    @cached_property
    def names(self) -> Names:
        return Names(open_database(f"sqlite:///{self.path / 'graft.db'}"), self.registry)

    @property
    def retirement(self) -> Retirement:
        return Retirement(self.names.database, self.registry)

    def current(self, name: str) -> Pointer:
        pointer = self.names.pointer(name)
        assert pointer is not None
        return pointer


@dataclass
class Gateway:
    home: Home
    socket: Path
    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path
    url: str = "http://gateway"
    """Where it listens on TCP; as it stands here, it listens on its socket."""

    def http(self) -> httpx.Client:
        uds = str(self.socket) if self.url == Gateway.url else None
        return httpx.Client(transport=httpx.HTTPTransport(uds=uds), base_url=self.url, timeout=30)

    def openai(self, key: str = "any") -> openai.OpenAI:
        return openai.OpenAI(api_key=key, base_url=f"{self.url}/v1", http_client=self.http(), max_retries=0)

    def async_openai(self) -> openai.AsyncOpenAI:
        limits = httpx.Limits(max_connections=None)
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket), limits=limits)
        client = httpx.AsyncClient(transport=transport, timeout=30)
        return openai.AsyncOpenAI(api_key="any", base_url="http://gateway/v1", http_client=client, max_retries=0)

    @property
    def engine_socket(self) -> Path:
        return socket_path(self.settings, f"{BASE}-0")

    @property
    def engine_pid(self) -> int:
        return int(self.engine_socket.with_suffix(".pid").read_text())

    def stub(self) -> dict[str, Any]:
        """What the engine saw."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.engine_socket))) as client:
            state: dict[str, Any] = client.get("http://engine/stub/state").json()
        return state

    def metric(self, line: str) -> float:
        """The value of the metric whose name and labels are `line`; 0 while it has never been counted."""
        with self.http() as client:
            found = [row for row in client.get("/metrics").text.splitlines() if row.startswith(f"{line} ")]
        return float(found[0].split()[-1]) if found else 0.0

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                with self.http() as client:
                    return client.get("/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        eventually(is_ready, START_S)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def eventually(holds: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Returns once it holds; what is waited for happens in other processes, so it can only be looked at again."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def gateway_on(
    home: Home, *stub_flags: str, socket: Path | None = None, model: str | Path = BASE, **variables: str
) -> Iterator[Gateway]:
    """A gateway of its own; `stub_flags` go to the engine, `variables` are settings as the environment names them; with
    GRAFT_SERVER_PORT it listens there. `model` is the base's folder, for what looks into it."""
    config = home.path / "graft.toml"
    config.write_text(f'[[bases]]\nname = "{BASE}"\nmodel = "{model}"\nflags = {json.dumps(stub_flags)}\n')
    variables = {"GRAFT_STORAGE_HOME": str(home.path), "GRAFT_ENGINE_KIND": "stub", "GRAFT_CONFIG": str(config)} | variables
    socket = socket or home.path / "g.sock"
    log = socket.with_name("gateway.log")
    port = variables.get("GRAFT_SERVER_PORT")
    listens = ["--port", port] if port else ["--uds", str(socket)]
    argv = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "gateway.app:from_environment",
            *listens, "--workers", "1", "--http", "1", "--workers-kill-timeout", "30"]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env={**os.environ, **variables}, stdout=output, stderr=output, start_new_session=True)
    gateway = Gateway(home, socket, settings_table.load(environment=variables), process, log)
    gateway.url = f"http://127.0.0.1:{port}" if port else gateway.url
    try:
        gateway.wait_ready()
        yield gateway
    finally:
        if process.poll() is None:
            gateway.stop()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home", tmp_path / "made")


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway on `home`, which may be killed."""
    with ExitStack() as started:
        yield lambda *flags, **variables: started.enter_context(gateway_on(home, *flags, **variables))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for a whole file of tests that leave it as it is, with models already published."""
    root = tmp_path_factory.mktemp("shared")
    (root / "home").mkdir()
    home = Home(root / "home", root / "made")
    home.publish("clipped", seed=1)
    home.publish("too-big", rank=128, seed=2)
    home.publish("prompted", rank=None, prompt=PromptTemplate("Be brief.", (Shot("2+2?", "4"),)))
    home.publish("sampled", rank=None, sampling=Sampling(temperature=0.25, max_tokens=5, stop=("END",)))
    with gateway_on(home, GRAFT_ENGINE_MAX_MODEL_LEN="300", GRAFT_ENGINE_MAX_LORA_RANK="16") as gateway:
        yield gateway
