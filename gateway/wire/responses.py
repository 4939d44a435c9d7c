"""A request to `/v1/responses`, read strictly: what Graft does not do is refused by name, not dropped.

`read_request` gives it as it is, `as_chat` the same as a chat that engines know. Knows no engine and no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from adapters.errors import InvalidInput
from gateway.wire.context import Count, PromptReference, Wish
from gateway.wire.decoding import decode
from gateway.wire.vector_stores import RankingOptions

INCLUDABLE = ("file_search_call.results",)
RANKERS = ("none", "auto", "default-2024-11-15")
MOST_METADATA, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
"""As OpenAI has them: pairs, and characters."""


class FileSearch(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="file_search"):
    vector_store_ids: list[str]
    max_num_results: Count | None = None
    filters: Any = None
    ranking_options: RankingOptions | None = None


class Function(msgspec.Struct, tag_field="type", tag="function"):
    name: str
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Text(msgspec.Struct, forbid_unknown_fields=True):
    format: Format | None = None
    verbosity: Literal["medium"] | None = None


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The fields that have a meaning here, and those of OpenAI's whose meaning is nothing or is refused."""

    model: str | None = None
    """As the stored prompt says where it is left out."""
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    prompt: PromptReference | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    include: list[str] | None = None
    text: Text | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    """Answers are never stored here, and every response says so."""

    # hints, which change no answer
    stream_options: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    service_tier: Any = None
    max_tool_calls: Any = None
    # what would change the answer and is not done
    background: Any = None
    conversation: Any = None
    previous_response_id: Any = None
    reasoning: Any = None
    top_logprobs: Any = None
    truncation: Any = None


NOT_STORED = "answers are not stored here: send the conversation so far as `input`"
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "background": ((False,), "an answer comes while its caller waits; leave it out"),
    "conversation": ((), NOT_STORED),
    "previous_response_id": ((), NOT_STORED),
    "reasoning": (({}, {"effort": "none"}), "the models here have no reasoning to be set; leave it out"),
    "top_logprobs": ((0,), "use /v1/chat/completions, which has `logprobs`"),
    "truncation": (("disabled",), "an input that is too long is an error here; leave it out"),
}
"""Fields, the values that ask for nothing, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, its tools told apart."""

    request: Request
    file_search: FileSearch | None
    functions: tuple[Function, ...]
    field: str
    """Of the stores of `file_search`."""
    raw: dict[str, Any]
    """As it came, to be said again in the response."""

    @property
    def includes_results(self) -> bool:
        return bool(self.request.include)

    @property
    def wish(self) -> Wish | None:
        """What is to be searched."""
        tool = self.file_search
        if tool is None or self.request.tool_choice == "none":
            return None
        ranking = tool.ranking_options or RankingOptions()
        return Wish(
            tuple(tool.vector_store_ids), tool.max_num_results, ranking.score_threshold, ranking.lexical_weight,
            tool.filters, ranking.ranker != "none", self.field,
        )  # fmt: skip


def read_request(body: bytes) -> Asked:
    """Raises InvalidInput that names the field."""
    request = decode(body, Request)
    for name, (harmless, instead) in REFUSED.items():
        if (value := getattr(request, name)) is not None and value not in harmless:
            raise InvalidInput(f"'{name}' is not supported: {instead}", param=name, code="unsupported_parameter")
    for place, name in enumerate(request.include or ()):
        if name not in INCLUDABLE:
            raise InvalidInput(
                f"include[{place}]: only {', '.join(INCLUDABLE)} can be included, not '{name[:100]}'", param="include"
            )
    _check_metadata(request.metadata or {})
    _check_choice(request.tool_choice)
    if request.input is None and request.prompt is None:
        raise InvalidInput("the body has no 'input'", param="input", code="missing_required_parameter")
    return _with_tools(request, body)


def _with_tools(request: Request, body: bytes) -> Asked:
    search, field, functions = None, "", []
    for place, raw in enumerate(request.tools or ()):
        kind, path = raw.get("type"), f"tools[{place}]"
        if kind == "function":
            functions.append(decode(msgspec.json.encode(raw), Function, within=path))
        elif kind != "file_search":
            raise InvalidInput(
                f"{path}: tools of type '{str(kind)[:50]}' are not here (there are: file_search, function)",
                param=f"{path}.type", code="unsupported_parameter",
            )  # fmt: skip
        elif search is not None:
            raise InvalidInput(f"{path}: one file_search is enough; name all its stores in it", param=path)
        else:
            search, field = decode(msgspec.json.encode(raw), FileSearch, within=path), f"{path}.vector_store_ids"
            if not search.vector_store_ids:
                raise InvalidInput(f"{field} is empty: name at least one vector store", param=field)
            _check_ranking(search.ranking_options, f"{path}.ranking_options")
    return Asked(request, search, tuple(functions), field, msgspec.json.decode(body))


def _check_choice(choice: str | dict[str, Any] | None) -> None:
    kind = choice.get("type") if isinstance(choice, dict) else choice
    known = ("function", "file_search") if isinstance(choice, dict) else ("none", "auto", "required", None)
    if kind not in known:
        raise InvalidInput(
            f"tool_choice '{str(kind)[:50]}' is not supported here", param="tool_choice", code="unsupported_parameter"
        )
    if isinstance(choice, dict) and kind == "function" and not isinstance(choice.get("name"), str):
        raise InvalidInput("tool_choice.name must name the function", param="tool_choice.name")


def _check_ranking(ranking: RankingOptions | None, path: str) -> None:
    if ranking is None:
        return
    if ranking.ranker is not None and ranking.ranker not in RANKERS:
        raise InvalidInput(
            f"{path}.ranker must be one of {', '.join(RANKERS)}, not '{ranking.ranker[:50]}'", param=f"{path}.ranker"
        )


def _check_metadata(metadata: dict[str, str]) -> None:
    too_long = [name for name, value in metadata.items() if len(name) > LONGEST_KEY or len(value) > LONGEST_VALUE]
    if len(metadata) > MOST_METADATA or too_long:
        raise InvalidInput(
            f"metadata holds at most {MOST_METADATA} pairs, names of {LONGEST_KEY} and values of {LONGEST_VALUE} characters",
            param="metadata",
        )
