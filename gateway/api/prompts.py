"""/v1/graft/prompts: stored prompts in, out, labelled and rendered for a look. Thin: the work is `gateway/prompting.py`'s."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, get, post, put

from adapters.errors import InvalidInput
from adapters.prompting.library import LATEST, Version
from gateway.prompting import Prompting
from gateway.wire.decoding import decode
from gateway.wire.prompts import InputObject, LabelRequest, NewPrompt, PromptList, PromptObject, RenderedPrompt, RenderRequest

PROMPTS = "/v1/graft/prompts"
YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


@post(PROMPTS, status_code=200, summary="Add a version of a prompt")
async def create_prompt(
    request: Request[Any, Any, Any], prompting: Prompting, name: str | None = None, message: str = ""
) -> PromptObject:
    """The file itself as application/yaml (name and message as parameters of the address), or JSON with it as `content`."""
    body = await request.body()
    if request.headers.get("content-type", "").split(";")[0].strip().lower() in YAML:
        try:
            asked = NewPrompt(body.decode(), name, message)
        except UnicodeDecodeError as error:
            raise InvalidInput("the body is not UTF-8", code="invalid_yaml") from error
    else:
        asked = decode(body, NewPrompt)
    version = await prompting.add(asked.content, name=asked.name, message=asked.message)
    return await asyncio.to_thread(_object, prompting, version)


@get(PROMPTS, summary="The latest version of every prompt")
async def list_prompts(prompting: Prompting) -> PromptList:
    def listed() -> list[PromptObject]:
        library = prompting.library
        return [_object(prompting, library.find(name, LATEST), with_content=False) for name in library.names()]

    return PromptList(await asyncio.to_thread(listed))


@get(PROMPTS + "/{name:str}", summary="One version of a prompt")
async def get_prompt(name: str, prompting: Prompting, version: str | None = None) -> PromptObject:
    return await asyncio.to_thread(lambda: _object(prompting, prompting.library.find(name, version)))


@put(PROMPTS + "/{name:str}/labels/{label:str}", summary="Point a label at a version")
async def put_label(request: Request[Any, Any, Any], name: str, label: str, prompting: Prompting) -> PromptObject:
    asked = decode(await request.body(), LabelRequest)
    return await asyncio.to_thread(lambda: _object(prompting, prompting.library.label(name, label, str(asked.version))))


@post(PROMPTS + "/{name:str}/render", status_code=200, summary="Render a prompt without asking a model")
async def render_prompt(request: Request[Any, Any, Any], name: str, prompting: Prompting) -> RenderedPrompt:
    asked = decode(await request.body() or b"{}", RenderRequest)
    version = None if asked.version is None else str(asked.version)
    reference = {"id": name, "version": version, "variables": asked.variables}
    found = await prompting.resolve(reference, budget_tokens=asked.budget_tokens)
    return RenderedPrompt(
        found.name, found.version, found.messages, found.tokens, found.shots, found.dropped_shots, found.model, found.defaults
    )


def _object(prompting: Prompting, version: Version, *, with_content: bool = True) -> PromptObject:
    prompt = prompting.library.read(version)
    inputs = {
        name: InputObject(
            wanted.type, not wanted.optional, wanted.description, wanted.default, wanted.max_chars, list(wanted.enum)
        )
        for name, wanted in prompt.inputs.items()
    }  # fmt: skip
    versions = [each.number for each in prompting.library.versions(version.name)]
    return PromptObject(
        version.name, version.number, version.digest, version.created, version.message, list(version.labels), versions,
        prompt.model, prompt.description, inputs, prompt.text if with_content else None,
    )  # fmt: skip


handlers = (create_prompt, list_prompts, get_prompt, put_label, render_prompt)
