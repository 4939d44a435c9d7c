"""`graft chat`: talk to a served model from the terminal, through the OpenAI API as any caller does."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from adapters.errors import GraftError, Unavailable
from gateway import settings
from gateway.cli.terminal import err


def chat(
    model: str | None = None,
    *,
    question: Annotated[str | None, Parameter(name=["--question", "-q"])] = None,
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
    max_tokens
        Longest answer, in tokens.
    temperature
        0 gives the likeliest answer each time; higher values vary it.
    """
    from openai import APIConnectionError, APIError

    client = open_client()
    said: list[dict[str, Any]] = []
    try:
        model = model or client.models.list().data[0].id
        while True:
            text = question or _ask(model)
            if not text:
                return
            said.append({"role": "user", "content": text})
            answer = ""
            asked = {"model": model, "messages": said, "max_tokens": max_tokens, "temperature": temperature}
            for chunk in client.chat.completions.create(**asked, stream=True):
                piece = chunk.choices[0].delta.content if chunk.choices else None
                if piece:
                    answer += piece
                    sys.stdout.write(piece)
                    sys.stdout.flush()
            sys.stdout.write("\n")
            said.append({"role": "assistant", "content": answer})
            if question:
                return
    except APIConnectionError as error:
        raise not_running(settings.load()) from error
    except APIError as error:
        raise GraftError(error.message) from error


def open_client() -> Any:
    """The official client, pointed at the gateway of the settings."""
    from openai import OpenAI

    setting = settings.load()
    return OpenAI(base_url=address(setting) + "/v1", api_key=setting.server_api_key or "local", max_retries=0)


def address(setting: settings.Settings) -> str:
    host = "127.0.0.1" if setting.server_host in ("0.0.0.0", "::", "localhost") else setting.server_host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{setting.server_port}"


def not_running(setting: settings.Settings) -> Unavailable:
    return Unavailable(f"nothing answers at {address(setting)}; start it in another terminal: graft serve")


def _ask(model: str) -> str:
    try:
        err.print(f"[bold]{model}>[/] ", end="")
        return input().strip()
    except EOFError:
        return ""
