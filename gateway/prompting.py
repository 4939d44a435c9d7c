"""Stored prompts at work: a request's `prompt: {id, version, variables}` becomes messages, and new versions come in.

A prompt that was read before is rendered without looking at more of the disk than one time stamp. Examples that suit the
question by meaning are chosen by the encoder child; all others here. Knows no HTTP and no engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.conversation import WireMessage
from adapters.errors import InvalidInput, NotFound
from adapters.prompting.file import PromptFile, parse
from adapters.prompting.inputs import Input
from adapters.prompting.library import PromptLibrary, Version
from adapters.prompting.pool import Encode, Pool, open_pool, pool_digest
from adapters.prompting.rendering import Rendered, question_of, render_file
from adapters.prompting.selectors.choosing import choose, find_selector
from adapters.prompts import Selection, Shot
from gateway.files import FileStore

MOST_KEPT = 256
"""Prompt versions in memory; the one that was longest not asked for goes first."""
SETTLED_NS = 100_000_000
"""A time stamp this old cannot hide a further change: file systems count in steps of some milliseconds."""


class Encoded(Protocol):
    """As far as it is needed here (`gateway/retrieval/client.py`)."""

    @property
    def vectors(self) -> NDArray[np.float32]: ...


class About(Protocol):
    """As far as it is needed here (`gateway/retrieval/wire.py`)."""

    encoder: str


class Retriever(Protocol):
    """As far as it is needed here (`gateway/retrieval/retriever.py`)."""

    async def about(self) -> About: ...

    async def encode(self, texts: list[str | list[int]], *, bulk: bool = False) -> Encoded: ...

    async def choose(self, pool: Path, question: str, selection: Selection) -> list[Shot]: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    version: Version
    prompt: PromptFile
    pool: Pool | None
    selection: Selection | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A stored prompt, rendered for one request."""

    name: str
    version: int
    messages: list[WireMessage]
    model: str
    """What the file names; empty where it names none."""
    defaults: dict[str, Any]
    """Parameters and `response_format`, as the wire has them; a request's own go before them."""
    tokens: int
    """Of the messages, estimated."""
    shots: int
    dropped_shots: int


class Prompting:
    def __init__(self, library: PromptLibrary, files: FileStore, retriever: Retriever) -> None:
        self.library = library
        self._files, self._retriever = files, retriever
        self._found = OrderedDict[tuple[str, str | None], tuple[int, tuple[str, int]]]()
        """What a name and a word for a version stand for, and the time stamp under which that was read."""
        self._loaded = OrderedDict[tuple[str, int], Loaded]()

    async def model_of(self, reference: Mapping[str, Any]) -> str:
        """The model that the prompt's file names; empty where it names none. Raises NotFound as `resolve` does."""
        return (await self._loaded_of(reference)).prompt.model

    async def resolve(self, reference: Mapping[str, Any], *, budget_tokens: int | None = None) -> Resolved:
        """`reference` is a request's `{id, version?, variables?}`.

        Raises NotFound for an unknown name or version, InvalidInput for variables that do not fit, Unavailable while the
        encoder that examples are chosen by is not there.
        """
        loaded = await self._loaded_of(reference)
        try:
            variables = _unwrapped(reference.get("variables") or {}, loaded.prompt.inputs)
            shots = await self._shots(loaded, variables)
            rendered = render_file(loaded.prompt, variables, shots, budget_tokens)
        except InvalidInput as wrong:
            where = f"prompt '{loaded.version.name}', version {loaded.version.number}: {wrong.message}"
            raise InvalidInput(where, param=f"prompt.{wrong.param or 'variables'}", code=wrong.code) from wrong
        return _resolved(loaded, rendered, len(shots))

    async def add(self, text: str, *, name: str | None = None, message: str = "") -> Version:
        """Files that hold examples are named by their id. Raises what `PromptLibrary.add` raises."""
        where, encoder = name or "the prompt", ""
        encode: Encode | None = None
        if parse(text, where).needs_vectors:
            loop = asyncio.get_running_loop()
            encoder = (await self._retriever.about()).encoder

            def encode_in_thread(texts: Sequence[str]) -> NDArray[np.float32]:
                asking = self._retriever.encode(list(texts), bulk=True)
                return asyncio.run_coroutine_threadsafe(_vectors(asking), loop).result()

            encode = encode_in_thread
        return await asyncio.to_thread(
            self.library.add, text, where, name=name, message=message, fetch=self._fetch, encode=encode, encoder=encoder
        )

    def _fetch(self, source: str) -> Path:
        try:
            return self._files.content(source)
        except NotFound:
            raise InvalidInput(
                f"examples.source: there is no uploaded file '{source}'; send it with POST /v1/files and name its id, or "
                "write the rows into the prompt",
                param="examples.source",
            ) from None

    async def _loaded_of(self, reference: Mapping[str, Any]) -> Loaded:
        name, said = reference["id"], reference.get("version")
        return self._at_hand(name, said) or await self._read(name, said)

    def _at_hand(self, name: str, said: str | None) -> Loaded | None:
        found = self._found.get((name, said))
        if found is None or found[0] != self.library.stamp(name):
            return None
        self._found.move_to_end((name, said))
        loaded = self._loaded.get(found[1])
        if loaded is not None:
            self._loaded.move_to_end(found[1])
        return loaded

    async def _read(self, name: str, said: str | None) -> Loaded:
        stamp, is_settled, loaded = await asyncio.to_thread(self._look_up, name, said)
        key = (name, loaded.version.number)
        _keep(self._loaded, key, loaded)
        if is_settled:
            _keep(self._found, (name, said), (stamp, key))
        return loaded

    def _look_up(self, name: str, said: str | None) -> tuple[int, bool, Loaded]:
        try:
            stamp = self.library.stamp(name)  # before the look, so that what changes from here on is seen the next time
            is_settled = time.time_ns() - stamp > SETTLED_NS
            version = self.library.find(name, said)
        except InvalidInput as wrong:
            raise InvalidInput(wrong.message, param="prompt.id") from wrong
        loaded = self._loaded.get((name, version.number))
        if loaded is None or loaded.version.digest != version.digest:
            loaded = _load(self.library, version)
        return stamp, is_settled, loaded

    async def _shots(self, loaded: Loaded, variables: Mapping[str, Any]) -> list[Shot]:
        if loaded.pool is None or loaded.selection is None or loaded.version.pool is None:
            return []
        question = question_of(loaded.prompt, variables)
        selector = find_selector(loaded.selection.strategy)
        if selector.needs_vectors:
            return await self._retriever.choose(loaded.version.pool, question, loaded.selection)
        if selector.by_question:  # the first time it makes an index of the rows
            return await asyncio.to_thread(choose, loaded.pool, loaded.selection, question)
        return choose(loaded.pool, loaded.selection, question)


def _load(library: PromptLibrary, version: Version) -> Loaded:
    prompt = library.read(version)
    if version.pool is None or prompt.examples is None:
        return Loaded(version, prompt, None, None)
    pool = open_pool(version.pool)
    select = prompt.examples.select or Selection("fixed", len(pool.rows), "")
    selection = Selection(select.strategy, select.k, pool_digest(pool.rows), select.seed, select.max_tokens)
    return Loaded(version, prompt, pool, selection)


def _resolved(loaded: Loaded, rendered: Rendered, shots: int) -> Resolved:
    prompt = loaded.prompt
    formed = {"response_format": prompt.response_format} if prompt.response_format is not None else {}
    return Resolved(
        loaded.version.name, loaded.version.number, rendered.messages, prompt.model, prompt.parameters | formed,
        rendered.tokens, shots - len(rendered.dropped_shots), len(rendered.dropped_shots),
    )  # fmt: skip


def _unwrapped(variables: Mapping[str, Any], inputs: Mapping[str, Input]) -> dict[str, Any]:
    """OpenAI's clients may write a text as `{"type": "input_text", "text": …}`."""

    def plain(name: str, value: Any) -> Any:
        wrapped = isinstance(value, dict) and value.get("type") == "input_text" and value.keys() == {"type", "text"}
        return value["text"] if wrapped and name in inputs and inputs[name].type == "string" else value

    return {name: plain(name, value) for name, value in variables.items()}


async def _vectors(asking: Any) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = (await asking).vectors
    return vectors


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
