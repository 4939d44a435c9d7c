"""`graft prompts …`: stored prompts, their versions and labels, and the way to an adapted model. Needs no gateway running."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.syntax import Syntax

from adapters.adapted_model import AdaptedModel, Lineage
from adapters.errors import InvalidInput
from adapters.prompting.file import PromptFile, parse
from adapters.prompting.library import LATEST, PRODUCTION, PromptLibrary, Version
from adapters.prompting.pool import Encode, open_pool, write_pool
from adapters.prompting.promotion import Promoted, as_template
from adapters.prompting.selectors.choosing import find_selector
from adapters.registry import INCOMING
from gateway import settings
from gateway.cli.base import chosen
from gateway.cli.desk import Desk
from gateway.cli.models import Force, Json, Quiet
from gateway.cli.proof import await_proof
from gateway.cli.terminal import err, out, print_json, print_table
from gateway.publishing import publish
from gateway.reserved import free_name
from gateway.retrieval import encoders

Values = Annotated[
    list[str] | None, Parameter(name="--var", negative="", help="A value for an input, as in ticket='No steam'.")
]


def open_library(setting: settings.Settings) -> PromptLibrary:
    return PromptLibrary(setting.prompts)


def ls(*, json: Json = False, quiet: Quiet = False) -> None:
    """Every stored prompt: its versions, its labels, what it asks for."""
    library = open_library(settings.load())
    latest = [library.find(name, LATEST) for name in library.names()]
    if quiet:
        for version in latest:
            out.print(version.name, markup=False)
        return
    rows = [_described(library, version) for version in latest]
    if json:
        print_json(rows)
        return
    print_table(
        ("NAME", "LATEST", "LABELS", "INPUTS", "MODEL", "DESCRIPTION"),
        (
            (row["name"], str(row["version"]), _labels(library, row["name"]), ", ".join(row["inputs"]), row["model"] or "–",
             row["description"] or "–")
            for row in rows
        ),
    )  # fmt: skip


def _labels(library: PromptLibrary, name: str) -> str:
    return ", ".join(f"{label} {number}" for label, number in library.labels(name).items()) or "–"


def _described(library: PromptLibrary, version: Version) -> dict[str, Any]:
    prompt = library.read(version)
    inputs = {name: wanted.type for name, wanted in prompt.inputs.items()}
    return {
        "name": version.name, "version": version.number, "digest": version.digest, "created": version.created,
        "message": version.message, "labels": list(version.labels), "model": prompt.model, "description": prompt.description,
        "inputs": inputs, "examples": len(open_pool(version.pool).rows) if version.pool else 0,
    }  # fmt: skip


def show(name: str, *, json: Json = False) -> None:
    """One version of a prompt: the file, and where it stands.

    Parameters
    ----------
    name
        `triage` for the one in production (else the latest), or `triage@2`, `triage@staging`.
    """
    library = open_library(settings.load())
    version = find_version(library, name)
    described = _described(library, version)
    prompt = library.read(version)
    if json:
        print_json(described | {"content": prompt.text})
        return
    said = {field: described[field] for field in ("digest", "created", "message", "labels", "examples")}
    said["digest"] = version.digest[:12]
    others = [f"{v.number} ({', '.join(v.labels)})" if v.labels else str(v.number) for v in library.versions(version.name)]
    rows = [("name", f"{version.name}@{version.number}"), ("versions", ", ".join(others))]
    rows += [(field, ", ".join(value) if isinstance(value, list) else str(value)) for field, value in said.items() if value]
    print_table(("", ""), rows)
    print_text(prompt.text, "yaml")


def add(
    file: Path, *, name: str | None = None, message: Annotated[str, Parameter(name=["--message", "-m"])] = "",
    label: str | None = None,
) -> None:  # fmt: skip
    """Store a prompt file as the next version of its name. The same content again is the same version.

    Parameters
    ----------
    file
        A `.prompt.yml`; one of GitHub Models works as it is. Examples are read from the data file it names, beside it.
    name
        In place of the file's own.
    message
        Why this version was made.
    label
        Point this label at it, such as production.
    """
    setting = settings.load()
    library, text = open_library(setting), read_text(file)
    encoding = _encoding(setting) if parse(text, str(file)).needs_vectors else {}
    version = library.add(
        text, str(file), name=name, message=message, fetch=lambda source: file.parent / source, **encoding
    )  # fmt: skip
    if label is not None:
        version = library.label(version.name, label, str(version.number))
    labels = f" ({', '.join(version.labels)})" if version.labels else ""
    err.print(f"{version.name} has version {version.number} now, {version.digest[:12]}{labels}", markup=False)


def diff(name: str, old: str | None = None, new: str = LATEST) -> None:
    """What changed between two versions of a prompt.

    Parameters
    ----------
    old
        A number, a label or first digits of a digest. Default: the version before the latest.
    new
        Likewise.
    """
    library = open_library(settings.load())
    numbers = [version.number for version in library.versions(name)]
    if old is None and len(numbers) < 2:
        raise InvalidInput(f"'{name}' has one version only: there is nothing to compare it with", param="old")
    changed = library.diff(name, old or str(numbers[-2]), new)
    if not changed:
        err.print("the files are the same")
    print_text(changed, "diff")


def promote(
    name: str, version: str | None = None, *, label: str | None = None,
    as_: Annotated[str | None, Parameter(name="--as")] = None, base: str | None = None, var: Values = None,
    force: Force = False, margin: float | None = None,
) -> None:  # fmt: skip
    """Point a label at a version, or publish the prompt as an adapted model that is asked by its own name.

    Parameters
    ----------
    version
        A number, a label or first digits of a digest. Default: the latest, or with --as the one in production.
    label
        The label to move. Default: production, which a request means that names no version.
    as_
        Publish it under this name for `model`. One input is left open: it becomes the question.
    base
        With --as: a base of the settings, by its name. Default: the file's model if it is one, else the first.
    margin
        With --as: how much better it must score. Default: publish.margin of the settings.
    """
    if label is not None and as_ is not None:
        raise InvalidInput("say either --label or --as", param="label")
    if as_ is None:
        moved = open_library(settings.load()).label(name, label or PRODUCTION, version or LATEST)
        err.print(f"{label or PRODUCTION} of {name} is version {moved.number} now")
        return
    desk = Desk()
    free_name(as_, param="as")
    if as_ in {known.name for known in desk.settings.bases}:
        raise InvalidInput(f"'{as_}' is the name of a base; choose another for the adapted model", param="as")
    library = open_library(desk.settings)
    found = library.find(name, version)
    prompt = library.read(found)
    pool = open_pool(found.pool) if found.pool is not None else None
    promoted = as_template(prompt, pool, given_values(prompt, var))
    known = {each.name for each in desk.settings.bases}
    on = chosen(desk.settings, base or (prompt.model if prompt.model in known else None)).name
    number = _published(desk, _model(as_, on, promoted, found), promoted, found)
    publish(desk.names, desk.settings, as_, number, force=force, margin=margin)
    await_proof(desk, as_, number)


def _model(name: str, base: str, promoted: Promoted, version: Version) -> AdaptedModel:
    template = promoted.template
    origin = {"prompt": version.name, "prompt_version": version.number, "prompt_digest": version.digest}
    method = "few_shot" if template.shots or template.select is not None else "zero_shot"
    made = datetime.now(UTC).isoformat(timespec="seconds")
    lineage = Lineage(method=method, recipe=origin, created=made)
    return AdaptedModel(name, 0, base, prompt=template, sampling=promoted.sampling, lineage=lineage)


def _published(desk: Desk, model: AdaptedModel, promoted: Promoted, version: Version) -> int:
    """The number of the registry's new version."""
    select = promoted.template.select
    if select is None:
        return desk.registry.publish(desk.registry.add(model)).version
    if version.pool is not None and tuple(open_pool(version.pool).rows) == promoted.pool:
        return desk.registry.publish(desk.registry.add(model, pool=version.pool)).version
    desk.registry.root.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=INCOMING, dir=desk.registry.root))  # a kill leaves it to the registry's sweep
    try:
        encoding = _encoding(desk.settings) if find_selector(select.strategy).needs_vectors else {}
        write_pool(scratch / "pool", promoted.pool, **encoding)
        return desk.registry.publish(desk.registry.add(model, pool=scratch / "pool")).version
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def find_version(library: PromptLibrary, said: str) -> Version:
    """By `name` or `name@version`."""
    name, _, pin = said.partition("@")
    return library.find(name, pin or None)


def given_values(prompt: PromptFile, given: Sequence[str] | None) -> dict[str, Any]:
    """From `name=value` words: text for inputs that are text, JSON for all others."""
    import json

    values: dict[str, Any] = {}
    for word in given or ():
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidInput(f"'{word}': write --var name=value", param="var")
        wanted = prompt.inputs.get(name)
        try:
            values[name] = value if wanted is None or wanted.type == "string" else json.loads(value)
        except ValueError as error:
            raise InvalidInput(f"'{name}' is of type {wanted.type if wanted else '?'}: write JSON, not {value}") from error
    return values


def print_text(text: str, kind: str) -> None:
    """In colours for a person; as it is for a pipe."""
    if out.is_terminal:
        out.print(Syntax(text, kind, background_color="default", word_wrap=True))
    else:
        sys.stdout.write(text)


def read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {file}", param="file") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8", param="file") from error


def encoder(setting: settings.Settings) -> tuple[Encode, str]:
    """The encoder of the settings in this process, loaded when it is called first, and its identity."""
    found = encoders.chosen(setting.retrieval_encoder)
    if found.folder is None:
        raise InvalidInput("the encoder is a server's: send the prompt to the gateway, POST /v1/graft/prompts", param="file")
    folder = found.folder
    from adapters.retrieval.encoder import Encoder, identity

    @cache
    def loaded() -> Encoder:
        return Encoder(folder)

    def encode(texts: Sequence[str]) -> Any:
        with err.status("encoding"):
            return loaded().encode(texts)

    return encode, identity(folder)


def _encoding(setting: settings.Settings) -> dict[str, Any]:
    encode, named = encoder(setting)
    return {"encode": encode, "encoder": named}
