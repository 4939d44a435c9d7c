"""`graft models …`: the registry's folders and the names that point into them. Works with no gateway running."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from adapters.adapted_model import AdaptedModel, to_json
from adapters.errors import InvalidInput, NotFound
from gateway.cli.desk import Desk
from gateway.cli.terminal import err, out, print_json, print_table

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print names only.")]


def ls(*, json: Json = False, quiet: Quiet = False) -> None:
    """Every adapted model and where its name points."""
    desk = Desk()
    rows = [_row(desk, name) for name in desk.registry.names()]
    if json:
        print_json(rows)
    elif quiet:
        for row in rows:
            out.print(row["name"], markup=False)
    else:
        columns = ("NAME", "CURRENT", "VERSIONS", "DRAFTS", "BASE", "METHOD", "SCORE")
        print_table(columns, ([_cell(row[c.lower()]) for c in columns] for row in rows))


def _row(desk: Desk, name: str) -> dict[str, Any]:
    pointer = desk.names.pointer(name)
    versions, drafts = desk.registry.versions(name), desk.registry.drafts(name)
    shown = desk.registry.load(name, pointer[0]) if pointer else (drafts[-1] if drafts else None)
    return {
        "name": name,
        "current": pointer[0] if pointer else None,
        "versions": versions,
        "drafts": [draft.digest[:12] for draft in drafts],
        "base": shown.base if shown else None,
        "method": shown.lineage.method if shown else None,
        "score": _score(shown) if shown else None,
    }


def _score(model: AdaptedModel) -> str | None:
    card = model.lineage.scorecard
    return f"{card['adapted']['mean']:.2f} (base {card['base']['mean']:.2f})" if card else None


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "–" if value in (None, "") else str(value)


def show(name: str, *, json: Json = False) -> None:
    """One version: base, adapter, prompt, lineage, scorecard.

    Parameters
    ----------
    name
        `support-bot`, or `support-bot@2` for a version that is not the current one.
    """
    desk = Desk()
    model = _said(desk, name)
    described = to_json(model) | {"digest": model.digest, "folder": str(desk.registry.folder(model))}
    if json:
        print_json(described)
        return
    rows = [("name", model.pinned), ("base", model.base), ("folder", described["folder"]), ("digest", model.digest[:12])]
    if model.adapter:
        rows.append(("adapter", f"{model.adapter.kind}, rank {model.adapter.rank}, engine name {model.engine_name}"))
    if model.prompt:
        rows.append(("prompt", f"{len(model.prompt.shots)} shots; system: {model.prompt.system or '–'}"))
    rows += [(key, _cell(value)) for key, value in described["lineage"].items() if value]
    print_table(("", ""), rows)


def promote(name: str, version: int | None = None, *, draft: str | None = None) -> None:
    """Point a name at a version, or publish a draft and point at it.

    Parameters
    ----------
    version
        The version to answer with from now on.
    draft
        First digits of a draft's digest, as `graft models ls` shows them; it gets the next version number.
    """
    desk = Desk()
    if (version is None) == (draft is None):
        raise InvalidInput("say either a version or --draft DIGEST", param="version")
    if draft is not None:
        found = [model for model in desk.registry.drafts(name) if model.digest.startswith(draft)]
        if len(found) != 1:
            raise NotFound(f"'{name}' has {len(found)} drafts that begin with '{draft}'", param="draft")
        version = desk.registry.publish(found[0]).version
    assert version is not None  # one of the two was said
    desk.names.promote(name, version)
    err.print(f"{name} answers with version {version} now")


def rollback(name: str) -> None:
    """Point a name back at the version it had before."""
    err.print(f"{name} answers with version {Desk().names.rollback(name)} now")


def rm(name: str, *, yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False) -> None:
    """Remove a version (`support-bot@1`), or a name with all its versions.

    A version that is being answered with cannot be removed; a whole name can.
    """
    desk = Desk()
    bare, _, pin = name.partition("@")
    if not yes and not _confirmed(f"remove {name} for good?"):
        return
    if pin:
        version = _number(name, pin)
        desk.registry.load(bare, version)
        desk.names.forget_version(bare, version)
        desk.registry.remove(bare, version)
    else:
        desk.names.forget(bare)
        desk.registry.remove(bare)
    err.print(f"removed {name}")


def _said(desk: Desk, said: str) -> AdaptedModel:
    name, _, pin = said.partition("@")
    if pin:
        return desk.registry.load(name, _number(said, pin))
    pointer = desk.names.pointer(name)
    if pointer is None:
        raise NotFound(f"there is no published model named '{name}'; `graft models ls` lists all", param="name")
    return desk.registry.load(name, pointer[0])


def _number(said: str, pin: str) -> int:
    if not pin.isdigit():
        raise InvalidInput(f"'{said}': a version is a number, as in 'support-bot@2'", param="name")
    return int(pin)


def _confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
