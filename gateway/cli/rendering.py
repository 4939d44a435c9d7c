"""`graft prompts render`: what a model would be asked, and in how many tokens; or many rows at once, to tune on.

Nothing is asked of a model. Needs no gateway running.
"""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adapters import bases
from adapters.conversation import WireMessage
from adapters.data import readers
from adapters.data.forms import read_row
from adapters.data.messages import Wrong
from adapters.errors import DataError, InvalidInput
from adapters.prompting.file import PromptFile, parse
from adapters.prompting.library import POOL, PromptLibrary
from adapters.prompting.pool import Encode, Pool, open_pool
from adapters.prompting.rendering import CountMessages, Rendered, question_of, render_file
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import Selection, Shot
from gateway import settings
from gateway.cli.models import Json
from gateway.cli.prompts import Values, encoder, find_version, given_values, open_library, read_text
from gateway.cli.terminal import err, out, print_json
from gateway.settings import Settings

ENDINGS = (".yml", ".yaml")
ANSWER = "expected"
"""The column of the answer, as `testData` of prompt files has it."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    file: PromptFile
    pool: Pool | None
    title: str


def render(
    name: str, *, var: Values = None, base: str | None = None, budget: int | None = None, data: Path | None = None,
    output: Annotated[Path | None, Parameter(name="--out")] = None, json: Json = False,
) -> None:  # fmt: skip
    """Show the messages of a prompt, their tokens, and which examples were left out; no model is asked.

    Parameters
    ----------
    name
        `triage`, `triage@2`, `triage@staging`; or a file that is not stored yet, such as triage.prompt.yml.
    base
        Count by the tokenizer of this base of the settings. Default: the file's model if it is one, else the first.
    budget
        Most tokens of all messages; examples are dropped to keep to it.
    data
        Render every row of this data file instead, without examples, as rows for `graft tune`. Its columns are the inputs
        and `expected`; of a file with questions and answers, the question is the one input that has no default.
    output
        Where those rows go. Default: standard output.
    """
    setting = settings.load()
    if data is not None:
        file = _opened(setting, name, None)[0].file
        _render_rows(file, given_values(file, var), data, output)
        return
    with ExitStack() as stack:
        prompt, encode = _opened(setting, name, stack)
        count, counted_by = _counter(setting, base, prompt.file)
        try:
            values = given_values(prompt.file, var)
            shots = _shots(prompt, values, encode)
            rendered = render_file(prompt.file, values, shots, budget, count)
        except InvalidInput as wrong:
            raise InvalidInput(f"{prompt.title}: {wrong.message}", param=wrong.param) from wrong
    if json:
        print_json(
            {"messages": rendered.messages, "tokens": rendered.tokens, "counted_by": counted_by,
             "shots": len(shots) - len(rendered.dropped_shots), "dropped_shots": len(rendered.dropped_shots)}
        )  # fmt: skip
        return
    _show(prompt, rendered, len(shots), counted_by)


def _show(prompt: _Prompt, rendered: Rendered, shots: int, counted_by: str) -> None:
    for message in rendered.messages:
        out.print(f"[bold]{message['role']}[/]")
        out.print(message["content"], markup=False, soft_wrap=True)
    by = f"by the tokenizer of {counted_by}" if counted_by else "estimated, 3.5 characters to a token"
    kept = shots - len(rendered.dropped_shots)
    err.print(f"{prompt.title}: {rendered.tokens:,} tokens ({by}), {kept} examples", markup=False, soft_wrap=True)
    for shot in rendered.dropped_shots:
        err.print(f"left out for the budget: {shot.user[:80]!r}", markup=False, soft_wrap=True)


def _opened(setting: Settings, name: str, stack: ExitStack | None) -> tuple[_Prompt, Encode | None]:
    """A stored prompt, or a file, and what its questions are encoded by where its examples are chosen by meaning.

    The examples of a file are made in a library that is gone with the stack, and not made where there is none.
    """
    if not name.endswith(ENDINGS):
        library = open_library(setting)
        version = find_version(library, name)
        pool = open_pool(version.pool) if version.pool is not None else None
        prompt = library.read(version)
        encode = encoder(setting)[0] if prompt.needs_vectors else None
        return _Prompt(prompt, pool, f"{version.name}@{version.number}"), encode
    file = Path(name)
    text = read_text(file)
    prompt = parse(text, name)
    if stack is None or prompt.examples is None:
        return _Prompt(prompt, None, name), None
    from tempfile import TemporaryDirectory

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="graft-prompt-")))
    encode, named = encoder(setting) if prompt.needs_vectors else (None, "")
    made = PromptLibrary(folder).add(
        text, name, name="shown", fetch=lambda source: file.parent / source, encode=encode, encoder=named
    )  # fmt: skip
    return _Prompt(prompt, open_pool(made.folder / POOL), name), encode


def _shots(prompt: _Prompt, values: Mapping[str, Any], encode: Encode | None) -> list[Shot]:
    if prompt.pool is None or prompt.file.examples is None:
        return []
    question = question_of(prompt.file, values)
    selection = prompt.file.examples.select or Selection("fixed", len(prompt.pool.rows), "")
    vector = encode([question])[0] if encode is not None else None
    return choose(prompt.pool, selection, question, vector)


def _counter(setting: Settings, base: str | None, prompt: PromptFile) -> tuple[CountMessages | None, str]:
    """How to count, and by which base's tokenizer; None and '' where no base is at hand."""
    known = {each.name: each for each in setting.bases}
    if base is not None and base not in known:
        raise InvalidInput(f"there is no base '{base}' in the settings (there are: {', '.join(known)})", param="base")
    chosen = known.get(base or prompt.model) or setting.bases[0]
    folder = bases.at_hand(chosen.model, setting.storage_cache)
    if folder is None:
        return None, ""
    from adapters.data.tokens import prompt_ids

    tokenizer = bases.open_tokenizer(folder)

    def count(messages: Sequence[WireMessage]) -> int:
        return len(prompt_ids(tokenizer, messages))

    return count, chosen.name


def _render_rows(prompt: PromptFile, values: Mapping[str, Any], data: Path, output: Path | None) -> None:
    rows = list(_rows(prompt, values, data))
    lines = "".join(f"{json_text.dumps(row, ensure_ascii=False)}\n" for row in rows)
    if output is None:
        sys.stdout.write(lines)
    else:
        output.write_text(lines)
    err.print(f"{len(rows):,} rows of {data} rendered{f' into {output}' if output else ''}", markup=False)


def _rows(prompt: PromptFile, values: Mapping[str, Any], data: Path) -> Iterator[dict[str, Any]]:
    read = _reader(prompt, values)
    for line, row in readers.rows(data):
        try:
            variables, answer = read(row, line)
            messages = render_file(prompt, {**values, **variables}).messages
        except (Wrong, InvalidInput) as wrong:
            raise DataError(wrong.message, path=str(data), line=line) from wrong
        # answers that the prompt itself spells out are not what is to be learned
        told = [message | {"weight": 0} if message["role"] == "assistant" else message for message in messages]
        yield {"messages": [*told, {"role": "assistant", "content": answer}]}


def _reader(prompt: PromptFile, values: Mapping[str, Any]) -> Callable[[dict[str, Any], int], tuple[dict[str, Any], str]]:
    """From a row and its line to what it says for the inputs, and the answer."""
    left = [name for name, wanted in prompt.inputs.items() if name not in values and not wanted.optional]

    def read(row: dict[str, Any], line: int) -> tuple[dict[str, Any], str]:
        if ANSWER in row:
            return {name: row[name] for name in prompt.inputs if name in row and name not in values}, str(row[ANSWER])
        if len(left) != 1:
            raise Wrong(f"the row has no '{ANSWER}', and which of the inputs is the question is not clear")
        _, example = read_row(row, line, None)
        return {left[0]: example.question}, example.answer

    return read
