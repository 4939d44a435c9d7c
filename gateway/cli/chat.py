"""`graft chat`: talk to a served model from the terminal, through the OpenAI API as any caller does."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from adapters.errors import GraftError, Unavailable
from gateway import settings
from gateway.address import address
from gateway.cli.terminal import err

PASSAGES = "x-graft-passages"


def chat(
    model: str | None = None,
    *,
    question: Annotated[str | None, Parameter(name=["--question", "-q"])] = None,
    store: str | None = None,
    passages: int | None = None,
    max_tokens: int = 256,
    temperature: float = 0.0,
) -> None:
    """Talk to a served model.

    Parameters
    ----------
    model
        A base or an adapted model, as `GET /v1/models` lists them. Default: the first base.
    question
        Ask this once and leave. Without it, a conversation: one line a turn, an empty line ends it.
    store
        A vector store, by name or id, to be searched with each question. What was found is listed after the answer.
    passages
        Most passages shown to the model.
    max_tokens
        Longest answer, in tokens.
    temperature
        0 gives the likeliest answer each time; higher values vary it.
    """
    from openai import APIConnectionError, APIError

    client = open_client()
    said: list[dict[str, Any]] = []
    graft = {name: value for name, value in (("store", store), ("passages", passages)) if value is not None}
    names: dict[str, str] = {}
    try:
        model = model or client.models.list().data[0].id
        while True:
            text = question or _ask(model)
            if not text:
                return
            said.append({"role": "user", "content": text})
            asked = {"model": model, "messages": said, "max_tokens": max_tokens, "temperature": temperature}
            answer, shown = _answer(client, asked | ({"extra_body": {"graft": graft}} if graft else {}))
            said.append({"role": "assistant", "content": answer})
            _list_sources(client, shown, names)
            if question:
                return
    except APIConnectionError as error:
        raise not_running(settings.load()) from error
    except APIError as error:
        raise GraftError(refusal(error)) from error


def _answer(client: Any, asked: dict[str, Any]) -> tuple[str, str | None]:
    """Writes the answer as it comes; returns it, and which passages it was given, if documents were searched."""
    answer = ""
    raw = client.chat.completions.with_raw_response.create(**asked, stream=True)
    for chunk in raw.parse():
        piece = chunk.choices[0].delta.content if chunk.choices else None
        if piece:
            answer += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    sys.stdout.write("\n")
    return answer, raw.headers.get(PASSAGES)


def _list_sources(client: Any, shown: str | None, names: dict[str, str]) -> None:
    """`shown`: the header, as `file:start-end:score, …`. `names`: of files that were looked up before, by id."""
    from openai import NotFoundError

    if shown is None:
        return
    if not shown:
        err.print("[dim]no passage was found[/]")
    for number, passage in enumerate(filter(None, shown.split(", ")), start=1):
        file, place, score = passage.rsplit(":", 2)
        if file not in names:
            try:
                names[file] = client.files.retrieve(file).filename
            except NotFoundError:  # the uploaded file is gone, its passages in the store are not
                names[file] = file
        err.print(f"[dim]\\[{number}] {escape(names[file])}, characters {place}, score {score}[/]", highlight=False)


def open_client() -> Any:
    """The official client, pointed at the gateway of the settings."""
    from openai import OpenAI

    setting = settings.load()
    return OpenAI(base_url=address(setting) + "/v1", api_key=setting.server_api_key or "local", max_retries=0)


def refusal(error: Any) -> str:
    """What the gateway said in an error of the client's, without the status around it."""
    return str(error.body.get("message", error.message)) if isinstance(error.body, dict) else str(error.message)


def not_running(setting: settings.Settings) -> Unavailable:
    return Unavailable(f"nothing answers at {address(setting)}; start it in another terminal: graft serve")


def _ask(model: str) -> str:
    try:
        err.print(f"[bold]{model}>[/] ", end="")
        return input().strip()
    except EOFError:
        return ""
