"""`graft models import` and `export`: adapters made elsewhere come in after a look and a probe; ours go out as plain folders.

Nothing is half there: an import ends with a version in the registry or nothing, an export with the whole folder or none.
"""

from __future__ import annotations

import json as json_text
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adapters import bases
from adapters.adapted_model import AdaptedModel, AdapterRef, Lineage
from adapters.errors import Conflict, InvalidInput, Unservable
from adapters.intake.config import CONFIG
from adapters.intake.preflight import AdapterReport, check_adapter
from adapters.intake.sources import Fetched, fetch
from adapters.model_card import card
from adapters.registry import INCOMING, WEIGHTS, file_digest
from gateway.cli.base import chosen, located
from gateway.cli.desk import Desk
from gateway.cli.merging import merge
from gateway.cli.models import Force, Json, find_version
from gateway.cli.proof import await_proof
from gateway.cli.terminal import err, print_json, print_table
from gateway.publishing import publish as ask_for_the_name
from gateway.reserved import free_name
from gateway.settings import RANK_STEPS


def import_(
    source: str,
    *,
    name: str,
    base: str | None = None,
    publish: bool = True,
    force: Force = False,
    json: Json = False,
) -> None:
    """Bring in a LoRA adapter made elsewhere, by PEFT, TRL, Axolotl, Unsloth or LLaMA-Factory, as a version of a name.

    Parameters
    ----------
    source
        A folder, an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz), hf://org/name[@revision] or s3://bucket/prefix.
    name
        What callers will put into `model`.
    base
        A base of the settings, by its name. Default: the first.
    publish
        Ask for the name to point at it. Otherwise it stays a draft.
    """
    desk = Desk()
    free_name(name)
    setting = chosen(desk.settings, base)
    if name in {known.name for known in desk.settings.bases}:
        raise InvalidInput(f"'{name}' is the name of a base; choose another for the adapted model", param="name")
    desk.registry.root.mkdir(parents=True, exist_ok=True)
    # a kill leaves this folder to the registry's sweep
    with tempfile.TemporaryDirectory(prefix=INCOMING, dir=desk.registry.root) as scratch:
        try:
            fetched = fetch(source, Path(scratch) / "adapter")
            base_folder = located(setting, desk.settings).folder
            report = check_adapter(fetched.folder, base_folder, desk.settings.engine_max_lora_rank or RANK_STEPS[-1])
            probe = record_probe(base_folder, fetched.folder, Path(scratch) / "probe.json")
        except Unservable as error:
            raise Unservable(f"{source} is refused: {error.message} [{error.code}]", code=error.code) from error
        draft = _draft(name, setting.name, bases.facts(base_folder).digest, source, fetched, report)
        desk.registry.add(draft, fetched.folder, probe=probe)
    _say(source, draft, fetched, report, json=json)
    if publish:
        version = desk.registry.publish(draft).version
        ask_for_the_name(desk.names, desk.settings, name, version, force=force)
        await_proof(desk, name, version)


def record_probe(base_folder: Path, adapter: Path, out: Path) -> dict[str, Any]:
    """What an engine that serves the adapter must answer, recorded in a process of its own: this one has no torch."""
    argv = [
        sys.executable, "-m", "adapters", "probe",
        "--base-folder", str(base_folder), "--adapter", str(adapter), "--out", str(out),
    ]  # fmt: skip
    with err.status("recording what it answers"):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().rpartition("error: ")[2][-2000:]
        raise Unservable(f"it cannot be probed: {said}", code="adapter_not_probed")
    probe: dict[str, Any] = json_text.loads(out.read_bytes())
    return probe


def _draft(name: str, base: str, base_digest: str, source: str, fetched: Fetched, report: AdapterReport) -> AdaptedModel:
    recipe = {
        "imported_from": source, "made_by": fetched.made_by or report.made_by, "rank": report.rank, "alpha": report.alpha,
        "rslora": report.rslora, "modules": list(report.modules), "claimed_base": report.claimed_base,
    }  # fmt: skip
    created = datetime.now(UTC).isoformat(timespec="seconds")
    lineage = Lineage("lora", recipe=recipe, base_digest=base_digest, created=created)
    adapter = AdapterRef("lora", file_digest(fetched.folder / WEIGHTS), report.rank)
    return AdaptedModel(name, 0, base, adapter, lineage=lineage)


def _say(source: str, draft: AdaptedModel, fetched: Fetched, report: AdapterReport, *, json: bool) -> None:
    assert draft.adapter is not None  # _draft gave it one
    found = {
        "source": source,
        "made_by": fetched.made_by or report.made_by,
        "base_it_claims": report.claimed_base,
        "base_it_gets": draft.base,
        "rank": report.rank,
        "alpha": report.alpha,
        "rslora": report.rslora,
        "modules": list(report.modules),
        "matrices": report.matrices,
        "layers": report.layers,
        "dtype": report.dtype,
        "size_bytes": report.size_bytes,
        "sha256": draft.adapter.digest,
        "ignored": list(fetched.ignored),
        "notes": list(report.notes),
    }
    if json:
        print_json(found | {"name": draft.name, "digest": draft.digest[:12]})
    else:
        print_table(("FOUND", ""), ((key.replace("_", " "), _cell(value)) for key, value in found.items()))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "–" if value in (None, "") else str(value)


def export(name: str, folder: Path, *, merged: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Write a version as a plain PEFT folder with a model card, or merged into a copy of its base.

    Parameters
    ----------
    name
        `support-bot`, or `support-bot@2` for a version that is not the current one.
    folder
        Where to; a new or an empty folder.
    merged
        A whole Hugging Face model with the adapter in its weights, which needs no PEFT to load.
    """
    desk = Desk()
    model = find_version(desk, name)
    if model.adapter is None:
        raise InvalidInput(
            f"{model.pinned} has no weights of its own, only a prompt; see `graft models show {name}`", param="name"
        )
    folder = folder.expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there and not empty; give a new folder", param="folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        if merged and model.adapter.kind == "lora":
            merge(desk, model, made)
        else:
            shutil.copytree(desk.registry.adapter_folder(model), made)
        if (config := made / CONFIG).is_file():
            said = json_text.loads(config.read_bytes()) | {"base_model_name_or_path": model.base}
            config.write_text(json_text.dumps(said, indent=1))
        (made / "README.md").write_text(card(model, is_merged=not config.is_file()))
        os.rename(made, folder)
    err.print(f"{model.pinned} is in {folder}", markup=False)
