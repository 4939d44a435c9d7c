"""`graft models …`: the registry's folders and the names that point into them. Works with no gateway running."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from adapters.adapted_model import AdaptedModel, to_json
from adapters.errors import InvalidInput, NotFound
from gateway.cli.desk import Desk
from gateway.cli.merging import merged_version
from gateway.cli.proof import await_proof
from gateway.cli.terminal import err, out, print_json, print_table
from gateway.publishing import publish

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Force = Annotated[bool, Parameter(negative="", help="Past the scorecard's gate; recorded in the lineage.")]
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
        columns = ("NAME", "CURRENT", "WANTED", "CANARIES", "VERSIONS", "DRAFTS", "BASE", "METHOD", "SCORE")
        print_table(columns, ([_cell(row[c.lower()]) for c in columns] for row in rows))


def _row(desk: Desk, name: str) -> dict[str, Any]:
    pointer = desk.names.pointer(name)
    versions, drafts = desk.registry.versions(name), desk.registry.drafts(name)
    current = pointer.version if pointer else None
    shown = desk.registry.load(name, current) if current is not None else (drafts[-1] if drafts else None)
    return {
        "name": name,
        "current": current,
        "wanted": pointer.wanted if pointer else None,
        "canaries": [f"{version} {share:.0%}" for version, share in pointer.shares.items()] if pointer else [],
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
    model = find_version(desk, name)
    described = to_json(model) | {"digest": model.digest, "folder": str(desk.registry.folder(model))}
    described["quarantine"] = desk.names.quarantined(model.name).get(model.version)
    moves = desk.names.moves(model.name)
    described["moves"] = [dataclasses.asdict(move) for move in moves]
    if json:
        print_json(described)
        return
    rows = [("name", model.pinned), ("base", model.base), ("folder", described["folder"]), ("digest", model.digest[:12])]
    if model.adapter:
        rows.append(("adapter", f"{model.adapter.kind}, rank {model.adapter.rank}, engine name {model.engine_name}"))
    if model.prompt:
        chosen = f", {model.prompt.select.k} chosen by {model.prompt.select.strategy}" if model.prompt.select else ""
        rows.append(("prompt", f"{len(model.prompt.shots)} shots{chosen}; system: {model.prompt.system or '–'}"))
    if pool := desk.registry.pool_folder(model):
        rows.append(("pool", str(pool)))
    if model.sampling.choices:
        rows.append(("answers", f"one of {len(model.sampling.choices)}: {_cell(list(model.sampling.choices[:5]))}…"))
    rows += [(key, _cell(value)) for key, value in described["lineage"].items() if value]
    if described["quarantine"]:
        rows.append(("quarantine", described["quarantine"]))
    print_table(("", ""), rows)
    if moves:
        said = ((_when(m.at), m.what, _cell(m.version), _cell(m.note)) for m in moves)
        print_table(("WHEN (UTC)", f"WHAT HAPPENED TO {model.name}", "VERSION", "WHY"), said)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def promote(
    name: str, version: int | None = None, *, draft: str | None = None, force: Force = False, margin: float | None = None,
    merged: Annotated[bool, Parameter(negative="")] = False,
) -> None:  # fmt: skip
    """Point a name at a version, or publish a draft and point at it.

    The version must score better than the current one, and a gateway must prove that its engine serves what was trained.

    Parameters
    ----------
    version
        The version to answer with from now on. With --merged, the current one if left out.
    draft
        First digits of a draft's digest, as `graft models ls` shows them; it gets the next version number.
    force
        Past the scorecard's gate; that is on record in the version's lineage. The proof is asked for all the same.
    margin
        How much better it must score. Default: publish.margin of the settings.
    merged
        Merge the adapter into a base of its own, with an engine of its own, behind the same name: for one adapter that
        carries most of the traffic. Its answers are compared with the unmerged ones before the name moves.
    """
    desk = Desk()
    if merged and version is None and (pointer := desk.names.pointer(name)) is not None:
        version = pointer.version
    if (version is None) == (draft is None):
        raise InvalidInput("say either a version or --draft DIGEST", param="version")
    if draft is not None:
        found = [model for model in desk.registry.drafts(name) if model.digest.startswith(draft)]
        if len(found) != 1:
            raise NotFound(f"'{name}' has {len(found)} drafts that begin with '{draft}'", param="draft")
        version = desk.registry.publish(found[0]).version
    assert version is not None  # one of the two was said
    if merged:
        version = merged_version(desk, desk.registry.load(name, version))
        desk.names.want(name, version, note="merged")
    else:
        publish(desk.names, desk.settings, name, version, force=force, margin=margin)
    await_proof(desk, name, version)


def canary(
    name: str, version: int | None = None, share: float | None = None, *, off: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Give a version a share of a name's requests; the others stay with the current one.

    The same `user` field, or header x-graft-session, always gets the same version.

    Parameters
    ----------
    version
        The version to try. Several at once: call it again.
    share
        From 0 to 1, as in 0.1.
    off
        End the canary of this version, or of all where none is said.
    """
    desk = Desk()
    pointer = desk.names.pointer(name)
    shares = dict(pointer.shares) if pointer is not None else {}
    if off:
        shares = {v: s for v, s in shares.items() if version is not None and v != version}
    elif version is None or share is None:
        raise InvalidInput("say a version and its share, as in `graft models canary support-bot 3 0.1`", param="share")
    else:
        shares[version] = share
    desk.names.canary(name, shares)
    current = pointer.version if pointer is not None else None
    rest = 1 - sum(shares.values())
    said = [f"{rest:.0%} version {current}", *(f"{s:.0%} version {v}" for v, s in shares.items())]
    err.print(f"{name} answers with " + ", ".join(said))


def rollback(name: str) -> None:
    """Point a name back at the version it had before."""
    err.print(f"{name} answers with version {Desk().names.rollback(name)} now")


def rm(name: str, *, yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False) -> None:
    """Remove a version (`support-bot@1`), or a name with all its versions.

    A version that is being answered with cannot be removed; a whole name can.
    """
    desk = Desk()
    bare, _, pin = name.partition("@")
    if not yes and not confirmed(f"remove {name} for good?"):
        return
    if pin:
        desk.names.forget_version(bare, _number(name, pin))
    else:
        desk.names.forget(bare)
    gone = desk.retirement.collect()
    waits = "" if gone else "; its files go when no engine can read them any more"
    err.print(f"removed {name}{waits}")


def find_version(desk: Desk, said: str) -> AdaptedModel:
    """By `name`, its current version, or by `name@version`."""
    name, _, pin = said.partition("@")
    if pin:
        return desk.registry.load(name, _number(said, pin))
    pointer = desk.names.pointer(name)
    if pointer is None or pointer.version is None:
        raise NotFound(f"there is no published model named '{name}'; `graft models ls` lists all", param="name")
    return desk.registry.load(name, pointer.version)


def _number(said: str, pin: str) -> int:
    if not pin.isdigit():
        raise InvalidInput(f"'{said}': a version is a number, as in 'support-bot@2'", param="name")
    return int(pin)


def confirmed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
