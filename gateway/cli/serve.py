"""`graft serve`: prepares the bases, then keeps two processes running: the gateway (which owns the engines) and the runner.

If one of them dies it is started again; Ctrl-C ends both, and everything they started. Serves nothing itself.
"""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from adapters import bases, embedded
from adapters.errors import Conflict
from gateway import children, settings
from gateway.address import address
from gateway.cli.base import located
from gateway.cli.terminal import err

GRACE_S = 40.0
LONGEST_PAUSE_S = 30.0


def serve(
    *models: Annotated[str, Parameter(allow_leading_hyphen=False)],
    config: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    max_loras: int | None = None,
    max_lora_rank: int | None = None,
    max_model_len: int | None = None,
    engine: str | None = None,
) -> None:
    """Serve base models and everything published, behind the OpenAI API.

    Parameters
    ----------
    models
        Bases to serve: smollm2 (embedded), a Hugging Face folder, or a hub id. Default: those of the settings.
        What follows `--` goes to vLLM as it is: `graft serve ./llama -- --gpu-memory-utilization 0.8`.
    config
        A settings file; `deploy/graft.toml` shows every setting.
    host
        Address to listen on. Anything but loopback needs an API key.
    port
        TCP port.
    max_loras
        Adapters that can be in one batch.
    max_lora_rank
        Highest LoRA rank served.
    max_model_len
        Tokens of prompt and answer together.
    engine
        vllm, or stub for load tests (a fake that says so).
    """
    setting = _settings(models, config, {
        "server_host": host, "server_port": port, "engine_max_loras": max_loras, "engine_kind": engine,
        "engine_max_lora_rank": max_lora_rank, "engine_max_model_len": max_model_len,
    })  # fmt: skip
    _port_is_free(setting)
    if setting.engine_kind != "stub":
        for base in setting.bases:
            located(base, setting)
    _export(setting)
    with _only_one(setting.storage_runtime):
        asyncio.run(_Serving(setting).run())


def _settings(said: tuple[str, ...], config: Path | None, flags: dict[str, Any]) -> settings.Settings:
    if config is not None:
        os.environ["GRAFT_CONFIG"] = str(config.absolute())
    own = _engine_flags()
    words = said[: len(said) - len(own)]
    if words:
        named = [(model, model if model in embedded.EMBEDDED else bases.default_name(Path(model).name)) for model in words]
        flags["bases"] = tuple(settings.BaseSetting(name, model, tuple(own)) for model, name in named)
    elif own:
        known = settings.load(overrides=flags).bases
        flags["bases"] = tuple(dataclasses.replace(base, flags=(*base.flags, *own)) for base in known)
    return settings.load(overrides=flags)


def _engine_flags() -> list[str]:
    """What stands after `--` on the command line."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _export(setting: settings.Settings) -> None:
    # the gateway and the runner are processes of their own and read the same settings from the environment
    for row in settings.SETTINGS:
        os.environ[row.environment] = str(getattr(setting, f"{row.section}_{row.name}"))
    os.environ["GRAFT_BASES"] = json.dumps([dataclasses.asdict(base) for base in setting.bases])


def _port_is_free(setting: settings.Settings) -> None:
    family = socket.AF_INET6 if ":" in setting.server_host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((setting.server_host, setting.server_port))
        except OSError as error:
            raise Conflict(
                f"{setting.server_host}:{setting.server_port} cannot be listened on ({error.strerror}); "
                "end what uses it, or choose another --port",
                param="port",
            ) from error


@contextmanager
def _only_one(runtime: Path) -> Iterator[None]:
    runtime.mkdir(parents=True, exist_ok=True)
    with (runtime / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another `graft serve` runs on {runtime}; end it, or give this one a GRAFT_STORAGE_RUNTIME of its own"
            ) from None
        yield


class _Serving:
    def __init__(self, setting: settings.Settings) -> None:
        self._settings = setting
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        for what in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(what, self._stopping.set)
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        gateway = [
            sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "gateway.app:from_environment",
            "--host", self._settings.server_host, "--port", str(self._settings.server_port),
            "--workers", "1", "--http", "1", "--log-level", "warning", "--workers-kill-timeout", "30",
        ]  # fmt: skip
        keeping = [
            asyncio.create_task(self._keep("gateway", gateway)),
            asyncio.create_task(self._keep("runner", [sys.executable, "-m", "gateway.jobs.runner"])),
        ]
        announcing = asyncio.create_task(self._announce())
        await self._stopping.wait()
        announcing.cancel()
        err.print("stopping")
        await asyncio.gather(*keeping)

    async def _keep(self, name: str, argv: list[str]) -> None:
        """Runs one process until we stop, and again after it died, a little later each time that it dies young."""
        pause_s = 0.5
        with (self._settings.logs / f"{name}.log").open("ab") as log:
            while not self._stopping.is_set():
                started = time.monotonic()
                process = await children.start(argv, stdout=log, stderr=log)
                await self._end_or_stop(process)
                if self._stopping.is_set():
                    return
                pause_s = 0.5 if time.monotonic() - started > 60 else min(2 * pause_s, LONGEST_PAUSE_S)
                err.print(f"[yellow]{name} ended with {process.returncode}[/]; again in {pause_s:.0f} s (log: {log.name})")
                try:
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                except TimeoutError:
                    continue

    async def _end_or_stop(self, process: Process) -> None:
        ended, stopping = asyncio.create_task(process.wait()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is None:
            await children.end(process, grace_s=GRACE_S)
        stopping.cancel()

    async def _announce(self) -> None:
        """Says what the engines are doing until all of them answer, then what to do next."""
        import aiohttp

        started, url = time.monotonic(), address(self._settings)
        names = ", ".join(base.name for base in self._settings.bases)
        log, told = self._settings.logs / f"engine-{self._settings.bases[0].name}-0.log", ""
        with err.status(f"starting {names}") as status:
            async with aiohttp.ClientSession() as session:
                while (states := await _states(session, url)) != {"ready"}:
                    waited = time.monotonic() - started
                    doing = f"starting {names}: {waited:.0f} s · {_last_words(log)}"
                    status.update(escape(doing[: err.width - 4]))  # a second line would flicker
                    trouble = _last_words(self._settings.logs / "gateway.log", 400) if "restarting" in states else ""
                    if trouble not in ("", told):
                        err.print(f"[yellow]{escape(trouble)}[/]", soft_wrap=True)
                        told = trouble
                    await asyncio.sleep(0.5)  # another process's readiness, asked over HTTP
        err.print(f"[green]ready[/] after {time.monotonic() - started:.0f} s: {names} at {url}/v1\n")
        err.print(_NEXT.format(url=url, base=self._settings.bases[0].name), markup=False, soft_wrap=True)


_NEXT = """Try next, in another terminal (Ctrl-C here ends everything):

  graft chat -q "What is the capital of France?"
  graft tour
  curl {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{base}", "temperature": 0, "messages": [{{"role": "user", "content": "Say hello"}}]}}'
"""


async def _states(session: Any, url: str) -> set[str]:
    """What the engines are, each state once; nothing while nobody answers."""
    import aiohttp

    try:
        async with session.get(f"{url}/health/ready") as answer:
            engines = (await answer.json())["engines"]
    except (aiohttp.ClientError, OSError):
        return set()
    return {state for replicas in engines.values() for state in replicas}


def _last_words(log: Path, longest: int = 200) -> str:
    """The last line of a log, short enough to be shown."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2000))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].split("] ")[-1].strip()[:longest] if lines else ""
