"""From an example to token ids and the labels the loss is taken on, by the base's own chat template.

The prompt is rendered by the one render function and tokenised as the engine will tokenise it, so what is trained is
what will be asked. Which tokens are learned is found by comparing prefixes: no template is edited, none needs marks.
Knows no torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.conversation import Example, Message, WireMessage, wire
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is read but not learned."""


@dataclass(frozen=True, slots=True)
class Encoded:
    input_ids: list[int]
    labels: list[int]
    """As long as `input_ids`: the token itself where it is learned, else IGNORED."""
    line: int
    answer_bytes: int
    """UTF-8 bytes of the learned text, stop token aside."""

    @property
    def supervised(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[WireMessage], template: PromptTemplate | None = None
) -> list[int]:
    """The ids the engine computes for a chat request with these messages (for a base without a chat template: for a
    completion request with their plain text)."""
    said = render(template, messages)
    if tokenizer.chat_template is None:
        return _plain_prompt(tokenizer, _plain(said))
    return _ids(tokenizer, _chat(tokenizer, said, ask=True))


def encode(tokenizer: PreTrainedTokenizerBase, example: Example, template: PromptTemplate | None = None) -> Encoded:
    """Ids of the whole rendered conversation; labels on the supervised answers, each with its stop token.

    A supervised answer is what stands between the prompt with the assistant's turn opened and the same with the answer
    in it. Raises InvalidInput where the chat template rewrites earlier turns, or ends an answer without a stop token.
    """
    _refuse_structure(tokenizer, example)
    before = render(template, wire(example.prompt))
    shift = len(before) + 1 - len(example.messages)  # messages the template added, or joined to one
    offered = list(example.tools) or None
    if offered:
        _refuse_deaf_template(tokenizer, [*before, example.messages[-1].wire()], offered, example.line)
    said = [*before, example.messages[-1].wire()]
    spoken = [(index + shift, example.messages[index].content) for index in example.supervised]
    answer_bytes = sum(len(content.encode()) for _, content in spoken)
    turns = [index for index, _ in spoken]
    if tokenizer.chat_template is None:
        ids, labels = _encode_plain(tokenizer, said, turns, example.line)
    else:
        ids, labels = _encode_chat(tokenizer, said, turns, example.line, offered)
    return Encoded(ids, labels, example.line, answer_bytes)


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, example: Example, template: PromptTemplate | None = None
) -> tuple[Encoded, Encoded]:
    """The row with the answer that is wanted, and with the one that is not; only that last answer is learned from."""
    if example.rejected is None:
        raise InvalidInput(f"line {example.line}: the row has no answer that is not wanted", param="training_file")
    last = len(example.messages) - 1
    rejected = (*example.prompt, Message("assistant", example.rejected))
    chosen, refused = (dataclasses.replace(example, messages=said, supervised=(last,)) for said in (example.messages, rejected))
    return encode(tokenizer, chosen, template), encode(tokenizer, refused, template)


def encode_documents(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int) -> list[Encoded]:
    """Plain text in rows of at most `max_length` tokens, every token learned but each row's first.

    A document begins as the tokenizer begins a text and ends with the end-of-text token; what does not fit into one row
    goes on in the next.
    """
    rows = []
    for example in examples:
        _refuse_structure(tokenizer, example)
        ids = _plain_prompt(tokenizer, example.answer)
        ids += [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        pieces = [ids[start : start + max_length] for start in range(0, len(ids), max_length)]
        for piece in pieces:
            if len(piece) > 1:  # one token alone foretells nothing
                size = len(tokenizer.decode(piece[1:], skip_special_tokens=True).encode())
                rows.append(Encoded(piece, [IGNORED, *piece[1:]], example.line, size))
    return rows


def encode_all(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], template: PromptTemplate | None, max_length: int
) -> tuple[list[Encoded], list[int]]:
    """The rows that fit into `max_length` tokens, and the lines of those that do not. No answer is ever cut."""
    rows = [encode(tokenizer, example, template) for example in examples]
    return [row for row in rows if len(row.input_ids) <= max_length], [
        row.line for row in rows if len(row.input_ids) > max_length
    ]


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, and those of the base's generation_config.json, as in vLLM."""
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    config = Path(tokenizer.name_or_path) / "generation_config.json"
    if config.is_file():
        said = json.loads(config.read_bytes()).get("eos_token_id")
        found |= set(said if isinstance(said, list) else [said] if said is not None else [])
    return frozenset(found)


def _encode_chat(
    tokenizer: PreTrainedTokenizerBase,
    said: list[WireMessage],
    turns: list[int],
    line: int,
    tools: list[WireMessage] | None,
) -> tuple[list[int], list[int]]:
    stops = stop_ids(tokenizer)
    ids: list[int] = []
    labels: list[int] = []
    done = ""
    for turn in turns:
        opened = _chat(tokenizer, said[:turn], ask=True, tools=tools)
        closed = _chat(tokenizer, said[: turn + 1], ask=False, tools=tools)
        if not opened.startswith(done) or not closed.startswith(opened):
            raise InvalidInput(
                f"the chat template of {_name(tokenizer)} rewrites earlier text when message {turn + 1} of the row in line "
                f"{line} is added, so what is learned would not be what is asked; give each answer a row of its own",
                param="base",
            )
        # each piece by itself: the engine too sees the prompt first and the answer only as it makes it
        context, answer = _ids(tokenizer, opened[len(done) :]), _ids(tokenizer, closed[len(opened) :])
        end = next((at + 1 for at in range(len(answer) - 1, 0, -1) if answer[at] in stops), 0)
        if end == 0:
            raise InvalidInput(
                f"the chat template of {_name(tokenizer)} ends an answer without one of its stop tokens ({sorted(stops)}): "
                "the model would never learn to stop; set eos_token_id in its generation_config.json",
                param="base",
            )
        ids += context + answer
        # what the template writes after the stop token (a line end) is never made by the engine
        labels += [IGNORED] * len(context) + answer[:end] + [IGNORED] * (len(answer) - end)
        done = closed
    return ids, labels


def _encode_plain(
    tokenizer: PreTrainedTokenizerBase, said: list[WireMessage], turns: list[int], line: int
) -> tuple[list[int], list[int]]:
    if tokenizer.eos_token_id is None:
        raise InvalidInput(f"the tokenizer of {_name(tokenizer)} has no end-of-text token to learn to stop with", param="base")
    if turns != [len(said) - 1]:
        raise InvalidInput(
            f"{_name(tokenizer)} has no chat template, so of the row in line {line} only the last answer can be learned: "
            "give each answer a row of its own, or use a chat base",
            param="base",
        )
    context = _plain_prompt(tokenizer, _plain(said[:-1]))
    answer = [*_ids(tokenizer, said[-1]["content"]), tokenizer.eos_token_id]
    return context + answer, [IGNORED] * len(context) + answer


def _plain(said: Sequence[WireMessage]) -> str:
    """A conversation as plain text: an answer follows its question directly, a blank line stands between turns."""
    text = ""
    for message in said:
        text += message["content"] if message["role"] == "assistant" or not text else f"\n\n{message['content']}"
    return text


def _plain_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=True)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def _refuse_deaf_template(
    tokenizer: PreTrainedTokenizerBase, said: list[WireMessage], tools: list[WireMessage], line: int
) -> None:
    """Raises InvalidInput where the base's template leaves tools or calls out: the model would learn to call what it
    never saw."""
    mute = [{key: value for key, value in message.items() if key != "tool_calls"} for message in said]
    has_calls = mute != said
    deaf = tokenizer.chat_template is None or _chat(tokenizer, said, ask=False, tools=tools) == _chat(
        tokenizer, said, ask=False
    )
    if deaf or (has_calls and _chat(tokenizer, said, ask=False, tools=tools) == _chat(tokenizer, mute, ask=False, tools=tools)):
        raise InvalidInput(
            f"line {line}: the row has tools, and the chat template of {_name(tokenizer)} does not write them; take a base "
            "whose template does, or leave 'tools' out",
            param="base",
        )


def _chat(
    tokenizer: PreTrainedTokenizerBase, said: Sequence[WireMessage], *, ask: bool, tools: list[WireMessage] | None = None
) -> str:
    from jinja2 import TemplateError

    try:
        text: Any = tokenizer.apply_chat_template(list(said), tokenize=False, add_generation_prompt=ask, tools=tools)
    except TemplateError as error:
        roles = ", ".join(str(message["role"]) for message in said)
        raise InvalidInput(
            f"the chat template of {_name(tokenizer)} refuses the roles {roles}: {error}", param="base"
        ) from error
    return str(text)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _refuse_structure(tokenizer: PreTrainedTokenizerBase, example: Example) -> None:
    for message in example.messages:
        for token in tokenizer.all_special_tokens:
            if token in message.content:
                raise InvalidInput(
                    f"line {example.line}: the {message.role}'s text holds '{token}', which {_name(tokenizer)} reads as "
                    "structure; take it out or spell it differently",
                    param="training_file",
                )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return Path(tokenizer.name_or_path).name or "this base"
