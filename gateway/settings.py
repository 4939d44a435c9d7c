"""Every setting of Graft: name, default and help in one table; a TOML file, the environment and flags fill it.

Precedence: flags > environment (`GRAFT_SERVER_PORT`) > file > default. Nothing else in Graft reads the environment
for its own settings. `deploy/graft.toml` shows every row, and a test keeps it complete.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.errors import InvalidInput
from adapters.tuning.several import Processes
from gateway.reserved import free_name


@dataclass(frozen=True, slots=True)
class Setting:
    section: str
    name: str
    default: Any
    help: str

    @property
    def environment(self) -> str:
        return f"GRAFT_{self.section}_{self.name}".upper()


SETTINGS = (
    Setting("server", "host", "127.0.0.1", "Address to listen on. On loopback any API key is accepted; elsewhere server.api_key must be set."),
    Setting("server", "port", 8000, "TCP port of the OpenAI API."),
    Setting("server", "api_key", "", "The key callers must send as 'Authorization: Bearer KEY'. Prefer the environment (GRAFT_SERVER_API_KEY) to writing it here."),
    Setting("server", "max_body_mib", 64, "Largest request body in MiB, uploads included; larger ones get 413."),
    Setting("server", "idle_timeout_s", 120.0, "Seconds the engine may stay silent in the middle of an answer before it counts as hung."),
    Setting("storage", "home", "~/.local/share/graft", "Where adapted models, runs, files and the database live. Local disk, not NFS."),
    Setting("storage", "runtime", "", "Where this gateway's sockets and logs lie. Empty: in storage.home; two gateways on one storage.home need one each."),
    Setting("storage", "cache", "~/.cache/graft", "Where prepared base models are kept; may be deleted, costs 20 s to make again."),
    Setting("storage", "database", "", "SQLAlchemy URL. Empty: SQLite (WAL) in storage.home."),
    Setting("engine", "kind", "vllm", "'vllm', or 'stub': a fake for load tests and laptops, which says so in every answer."),
    Setting("engine", "max_loras", 0, "Adapters that can be in one batch. 0: chosen by the capacity plan (`graft doctor` shows it) from the adapters there are."),
    Setting("engine", "max_lora_rank", 0, "Highest LoRA rank served; one of 8, 16, 32, 64, 128, 256, 320, 512. Every adapter is computed at this rank, whatever its own. 0: chosen by the plan."),
    Setting("engine", "max_cpu_loras", 0, "Adapters kept in memory beside each engine; the others are read from disk again. 0: chosen by the plan."),
    Setting("engine", "lora_memory_gib", 2.0, "Memory in GiB that the plan may give to adapters, for each engine."),
    Setting("engine", "max_in_flight", 64, "Answers that one engine works on at once; further ones wait in Graft's fair queues."),
    Setting("engine", "max_waiting", 512, "Requests that may wait for one engine; more get 429 with retry-after."),
    Setting("engine", "max_model_len", 2048, "Tokens of prompt and answer together."),
    Setting("engine", "kv_cache_gib", 1.0, "Memory for the key-value cache on a CPU, in GiB. On a GPU vLLM's --gpu-memory-utilization decides."),
    Setting("engine", "start_timeout_s", 600.0, "Seconds an engine may take to answer /health before it is stopped and tried again."),
    Setting("engine", "hang_timeout_s", 60.0, "Seconds after which an engine that neither answers /health nor makes a token counts as hung and is started again."),
    Setting("engine", "when_tuning", "auto", "What engines do while a job tunes on this machine: 'leave' (end, and come back with their adapters when it ends), 'stay', or 'auto': leave where there is a GPU, whose memory both need."),
    Setting("placement", "policy", "affinity", "Which replica answers: 'affinity' (the adapter's own, while its load is bounded), 'replicate' (hot adapters on several), 'least_busy' or 'round_robin'."),
    Setting("placement", "load_bound", 1.25, "A replica takes an adapter's requests up to this multiple of the mean load; then the next in the adapter's order does."),
    Setting("placement", "hot_share", 0.25, "Share of a base's recent requests from which 'replicate' gives an adapter a further replica."),
    Setting("publish", "margin", 0.0, "How much better than the current version a new one must score to take over the name, in the metric's own unit."),
    Setting("publish", "forgetting_budget", 0.0, "Most nats per token that the loss on the base's own words may have risen in a new version; its own --forgetting-budget goes before it. 0 sets no bound: the base stays there beside it."),
    Setting("retrieval", "encoder", "minilm", "What makes vectors: an embedded name (minilm), a sentence-transformers folder, or http://host:port of a server with /v1/embeddings, such as a vLLM pooling replica."),
    Setting("retrieval", "reranker", "", "A cross-encoder, by folder or hub id, for searches that ask to be ranked again. Empty: they are refused."),
    Setting("retrieval", "exact_up_to", 50_000, "Vectors of a store up to which search is exact; above, an HNSW graph is searched."),
    Setting("retrieval", "cache_mib", 256, "Memory in MiB for vectors of texts that were encoded before."),
    Setting("jobs", "lease_s", 30.0, "Seconds after its last sign of life that a runner's job may be taken over."),
    Setting("jobs", "attempts", 3, "How often a job that died is resumed before it fails."),
    Setting("jobs", "processes", 1, "Processes of this machine that train one model together, a GPU each. On 1 nothing is shared."),
    Setting("jobs", "sharding", "ddp", "What they share: 'ddp' (each holds the whole model and takes a part of every batch) or 'fsdp2' (weights, gradients and optimiser are split as well)."),
)  # fmt: skip

WHEN_TUNING = ("auto", "leave", "stay")

RANK_STEPS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values vLLM takes for --max-lora-rank (vllm/config/lora.py), 1 left out."""

BASE_FIELDS = {
    "name": "What callers put into 'model'.",
    "model": "An embedded name (smollm2), a Hugging Face folder, or a hub id.",
    "replicas": "Engines that this machine runs for the base.",
    "urls": "Engines that run elsewhere, as http://host:port; they must see storage.home under the same path.",
    "flags": "Further vLLM flags, as on its command line.",
}


@dataclass(frozen=True, slots=True)
class BaseSetting:
    name: str
    model: str
    flags: tuple[str, ...] = ()
    replicas: int = 1
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The table, filled. One field a row, `<section>_<name>`."""

    server_host: str
    server_port: int
    server_api_key: str
    server_max_body_mib: int
    server_idle_timeout_s: float
    storage_home: Path
    storage_runtime: Path
    storage_cache: Path
    storage_database: str
    engine_kind: str
    engine_max_loras: int
    engine_max_lora_rank: int
    engine_max_cpu_loras: int
    engine_lora_memory_gib: float
    engine_max_in_flight: int
    engine_max_waiting: int
    engine_max_model_len: int
    engine_kv_cache_gib: float
    engine_start_timeout_s: float
    engine_hang_timeout_s: float
    engine_when_tuning: str
    placement_policy: str
    placement_load_bound: float
    placement_hot_share: float
    publish_margin: float
    publish_forgetting_budget: float
    retrieval_encoder: str
    retrieval_reranker: str
    retrieval_exact_up_to: int
    retrieval_cache_mib: int
    jobs_lease_s: float
    jobs_attempts: int
    jobs_processes: int
    jobs_sharding: str
    bases: tuple[BaseSetting, ...]

    @property
    def models(self) -> Path:
        """The registry's root."""
        return self.storage_home / "models"

    @property
    def runs(self) -> Path:
        return self.storage_home / "runs"

    @property
    def files(self) -> Path:
        return self.storage_home / "files"

    @property
    def stores(self) -> Path:
        """Of the vector stores."""
        return self.storage_home / "stores"

    @property
    def prompts(self) -> Path:
        return self.storage_home / "prompts"

    @property
    def logs(self) -> Path:
        return self.storage_runtime / "logs"

    @property
    def sockets(self) -> Path:
        return self.storage_runtime / "sockets"

    @property
    def database_url(self) -> str:
        return self.storage_database or f"sqlite:///{self.storage_home / 'graft.db'}"

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.server_host).is_loopback
        except ValueError:
            return self.server_host == "localhost"


def load(
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from a TOML file, the environment and flags (`overrides`: `{"server_port": 8001, "bases": …}`).

    Raises InvalidInput that names the file, the key and the nearest known one.
    """
    environment = os.environ if environment is None else environment
    overrides = {k: v for k, v in (overrides or {}).items() if v is not None}
    unknown = overrides.keys() - {f"{setting.section}_{setting.name}" for setting in SETTINGS} - {"bases"}
    if unknown:
        raise InvalidInput(f"there is no setting {', '.join(sorted(unknown))}", param=min(unknown))
    raw = _read(file, environment)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        field = f"{setting.section}_{setting.name}"
        value, source = setting.default, "the default"
        if setting.name in raw.get(setting.section, {}):
            value, source = raw[setting.section][setting.name], str(file)
        if setting.environment in environment:
            value, source = environment[setting.environment], setting.environment
        if field in overrides:
            value, source = overrides[field], f"--{setting.name.replace('_', '-')}"
        values[field] = _typed(setting, value, source)
    listed = _bases(raw.get("bases", []), str(file))
    if "GRAFT_BASES" in environment:  # a JSON list of the same tables; `graft serve` hands them to its processes so
        listed = _bases(json.loads(environment["GRAFT_BASES"]), "GRAFT_BASES")
    bases = overrides.get("bases") or listed or (BaseSetting("smollm2", "smollm2"),)
    values["storage_home"] = Path(values["storage_home"]).expanduser().absolute()
    values["storage_runtime"] = Path(values["storage_runtime"] or values["storage_home"]).expanduser().absolute()
    values["storage_cache"] = Path(values["storage_cache"]).expanduser().absolute()
    settings = Settings(**values, bases=tuple(bases))
    _check(settings)
    return settings


def _read(file: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    if file is None and "GRAFT_CONFIG" in environment:
        file = Path(environment["GRAFT_CONFIG"])
    if file is None:
        return {}
    try:
        raw = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise InvalidInput(f"there is no settings file {file}", param="config") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{file} is not TOML: {error}", param="config") from error
    known = {(s.section, s.name) for s in SETTINGS}
    sections = {s.section for s in SETTINGS}
    for section, content in raw.items():
        if section == "bases":
            continue
        if section not in sections or not isinstance(content, dict):
            raise InvalidInput(f"{file}: unknown section [{section}]{_nearest(section, sections | {'bases'})}", param=section)
        for name in content:
            if (section, name) not in known:
                names = {n for s, n in known if s == section}
                raise InvalidInput(f"{file}: [{section}] has no setting '{name}'{_nearest(name, names)}", param=name)
    return raw


def _bases(raw: list[dict[str, Any]], source: str) -> tuple[BaseSetting, ...]:
    bases = []
    for entry in raw:
        for key in entry:
            if key not in BASE_FIELDS:
                raise InvalidInput(f"{source}: [[bases]] has no field '{key}'{_nearest(key, set(BASE_FIELDS))}", param=key)
        if "model" not in entry:
            raise InvalidInput(f"{source}: a [[bases]] entry needs 'model'", param="bases")
        model = str(entry["model"])
        name = free_name(str(entry.get("name", Path(model).name.lower())), param="bases")
        urls = tuple(str(url).rstrip("/") for url in entry.get("urls", ()))
        replicas = entry.get("replicas", 0 if urls else 1)
        if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0 or (replicas == 0 and not urls):
            raise InvalidInput(
                f"{source}: 'replicas' of the base '{name}' must be 1 or more, or 0 beside 'urls'", param="replicas"
            )
        for url in urls:
            if not re.fullmatch(r"https?://[\w.:\[\]-]+", url):
                raise InvalidInput(f"{source}: '{url}' is no engine's address; write http://host:port", param="urls")
        bases.append(BaseSetting(name, model, tuple(map(str, entry.get("flags", ()))), replicas, urls))
    return tuple(bases)


def _typed(setting: Setting, value: Any, source: str) -> Any:
    kind = type(setting.default)
    try:
        if isinstance(value, bool) or (kind is int and isinstance(value, float)):
            raise ValueError
        return kind(value)
    except ValueError:
        raise InvalidInput(
            f"{source}: {setting.section}.{setting.name} must be {kind.__name__}, not {value!r}", param=setting.name
        ) from None


def _check(settings: Settings) -> None:
    if settings.engine_max_lora_rank not in (0, *RANK_STEPS):
        listed = ", ".join(map(str, RANK_STEPS))
        raise InvalidInput(f"engine.max_lora_rank must be one of {listed}, or 0 for the plan's", param="max_lora_rank")
    if settings.engine_when_tuning not in WHEN_TUNING:
        raise InvalidInput(f"engine.when_tuning must be one of {', '.join(WHEN_TUNING)}", param="when_tuning")
    Processes(settings.jobs_processes, settings.jobs_sharding)  # checks itself
    if 0 < settings.engine_max_cpu_loras < settings.engine_max_loras:
        raise InvalidInput("engine.max_cpu_loras must not be below engine.max_loras", param="max_cpu_loras")
    if not settings.is_loopback and not settings.server_api_key:
        raise InvalidInput(
            f"listening on {settings.server_host} lets others in: set server.api_key (GRAFT_SERVER_API_KEY), or listen on 127.0.0.1",
            param="api_key",
        )
    names = [base.name for base in settings.bases]
    if len(set(names)) != len(names):
        raise InvalidInput("two bases have the same name; give one of them another 'name'", param="bases")


def _nearest(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f" (known: {', '.join(sorted(known))})"
