"""The central noun: everything needed to answer except the question, under one name and version.

Standard library only, so that every floor can read it. Knows no folder (the registry does) and no engine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from adapters import prompts
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate

LATER = frozenset({"select", "before", "after", "choices"})
"""Fields that adapted models did not always have: unset they do not count towards a digest, which stays what it was."""
NAME = re.compile(r"[a-z0-9][a-z0-9._:-]{0,127}")
ADAPTER_KINDS = {
    "lora": "adapter_model.safetensors",
    "checkpoint": "model.safetensors",
    "soft_prompt": "soft_prompt.safetensors",
    "head": "head.safetensors",
}
"""What can be clipped onto a base, and the file of its folder that the digest is of."""


def checked_name(name: str, of: str = "model") -> str:
    """The name itself, or `InvalidInput`. Names become folder names and engine names, so they are narrow."""
    if NAME.fullmatch(name) is None or ".." in name or "--" in name:
        raise InvalidInput(
            f"'{name}' cannot be a {of} name: use 1 to 128 lower-case letters, digits and . _ : - "
            "(a letter or digit first, no '..', no '--')",
            param="name",
        )
    return name


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """Which weights are clipped on. `digest` is the sha256 of the safetensors file; the files lie in the folder."""

    kind: str
    digest: str
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class RetrievalSpec:
    """Which vector store is searched with the question, and what becomes of what is found."""

    store: str
    """Its id. What it holds may change; the adapted model then answers from what it holds now."""
    passages: int = 3
    """Most passages shown before the question."""
    lexical_weight: float = 0.3
    """Of BM25 in the fused ranking and in the score; 0: by meaning only, 1: by words only."""
    min_score: float = 0.0
    """From 0 to 1; passages below are not shown."""
    when_nothing: str = "tell"
    """Where no passage is left: `tell` the model that nothing was found, or `refuse` to answer, without asking it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Defaults of an answer; a caller's own values override them. `None` leaves the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    """The only answers there are, such as the labels of a classification; the engine can write nothing else."""

    def wire(self) -> dict[str, Any]:
        """The fields that are set, named as the OpenAI wire names them."""
        said = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        more = {"stop": list(self.stop)} if self.stop else {}
        return {k: v for k, v in said.items() if v is not None} | more


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where it came from. Does not count towards the digest: the same weights made twice are the same model."""

    method: str = "zero_shot"
    dataset: str | None = None
    """Fingerprint of the data it was made from."""
    recipe: dict[str, Any] = field(default_factory=dict)
    run: str | None = None
    scorecard: dict[str, Any] = field(default_factory=dict)
    base_digest: str | None = None
    code_version: str | None = None
    parent: str | None = None
    created: str | None = None
    """UTC, ISO 8601."""
    forced: dict[str, Any] | None = None
    """Who promoted it past the publish gate, when and over which objection; None if nobody had to."""


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    name: str
    version: int
    """0 while it is a draft."""
    base: str
    adapter: AdapterRef | None = None
    prompt: PromptTemplate | None = None
    retrieval: RetrievalSpec | None = None
    sampling: Sampling = Sampling()
    lineage: Lineage = Lineage()

    @property
    def digest(self) -> str:
        """sha256 of what decides an answer: base, adapter, prompt, retrieval, sampling. 64 hex digits."""
        content = {k: v for k, v in to_json(self).items() if k in ("base", "adapter", "prompt", "retrieval", "sampling")}
        for part in filter(None, (content["prompt"], content["sampling"])):
            for name in LATER & part.keys():
                if not part[name]:
                    del part[name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def engine_name(self) -> str:
        """What the engine calls it: unique to these weights for ever, so no cache can be stale."""
        return self.base if self.adapter is None else f"{self.name}--{self.adapter.digest[:12]}"

    @property
    def asked_as(self) -> str:
        """The name an engine is asked under: a soft prompt comes with each question, and it is the base that answers."""
        return self.base if self.adapter is not None and self.adapter.kind == "soft_prompt" else self.engine_name

    @property
    def pinned(self) -> str:
        """`name@version`, which always answers with this very version."""
        return f"{self.name}@{self.version}"


def to_json(model: AdaptedModel) -> dict[str, Any]:
    return dataclasses.asdict(model)


def from_json(raw: dict[str, Any]) -> AdaptedModel:
    """The model that `to_json` wrote. Unknown fields are errors: a newer Graft wrote this folder."""
    try:
        prompt, retrieval = raw.get("prompt"), raw.get("retrieval")
        sampling = dict(raw.get("sampling") or {})
        return AdaptedModel(
            name=checked_name(raw["name"]),
            version=int(raw["version"]),
            base=raw["base"],
            adapter=AdapterRef(**raw["adapter"]) if raw.get("adapter") else None,
            prompt=prompts.from_json(prompt) if prompt else None,
            retrieval=RetrievalSpec(**retrieval) if retrieval else None,
            sampling=Sampling(**sampling | {listed: tuple(sampling.get(listed) or ()) for listed in ("stop", "choices")}),
            lineage=Lineage(**(raw.get("lineage") or {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"not an adapted model this version of Graft can read: {error}") from error
