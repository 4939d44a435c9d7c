"""`graft models import` and `export`: what comes in is looked at and probed first, what goes out is a plain folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters import bases
from adapters.adapted_model import AdaptedModel
from adapters.errors import Conflict, GraftError, InvalidInput, Unservable
from adapters.intake.config import CONFIG
from adapters.prompts import PromptTemplate
from adapters.registry import WEIGHTS, file_digest
from gateway.cli import transfer
from gateway.cli.desk import Desk
from tests.adapters.broken_adapters import configured, good_adapter
from tests.tiny import tiny_llama

PROBE = {"rows": [], "dtype": "bfloat16"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture
def desk(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("GRAFT_STORAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRAFT_BASES", json.dumps([{"name": "tiny", "model": str(base)}]))
    return Desk()


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording takes a process with torch; the test of the whole way has it."""
    monkeypatch.setattr(transfer, "record_probe", lambda base_folder, adapter, out: PROBE)


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    folder = good_adapter(tmp_path / "adapter", base)
    (folder / "README.md").write_text("---\ntags:\n- trl\n---\n")
    (folder / "training_args.bin").write_bytes(b"\x80")
    return folder


def graft(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli.main", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == status, done.stderr
    return done


def test_an_adapter_from_outside_becomes_a_probed_version_and_goes_out_again(
    desk: Desk, base: Path, adapter: Path, tmp_path: Path
) -> None:
    found = json.loads(graft("models", "import", str(adapter), "--name", "bot", "--json").stdout)
    assert (found["made_by"], found["base_it_claims"], found["base_it_gets"]) == ("trl", "org/tiny", "tiny")
    assert (found["rank"], found["matrices"], found["dtype"]) == (4, 14, "F32")
    assert found["ignored"] == ["README.md", "training_args.bin"]
    assert found["sha256"] == file_digest(adapter / WEIGHTS)
    model = desk.registry.load("bot", 1)
    assert model.lineage.recipe["imported_from"] == str(adapter)
    assert model.lineage.base_digest == bases.facts(base).digest
    probe = desk.registry.probe(model)
    assert probe is not None
    assert len(probe["rows"]) > 0
    assert sorted(path.name for path in desk.registry.adapter_folder(model).iterdir()) == [CONFIG, WEIGHTS]

    graft("models", "export", "bot@1", str(tmp_path / "out" / "plain"))
    plain = tmp_path / "out" / "plain"
    assert sorted(path.name for path in plain.iterdir()) == ["README.md", CONFIG, WEIGHTS]
    assert (plain / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()
    assert json.loads((plain / CONFIG).read_bytes())["base_model_name_or_path"] == "tiny"
    graft("models", "export", "bot@1", str(tmp_path / "out" / "whole"), "--merged")
    assert bases.facts(tmp_path / "out" / "whole").layers == 2
    assert "library_name: transformers" in (tmp_path / "out" / "whole" / "README.md").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plain", "whole"]


def test_what_was_found_is_shown_as_a_table(
    desk: Desk, adapter: Path, unprobed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    transfer.import_(str(adapter), name="bot", publish=False)
    said = capsys.readouterr().out
    assert "org/tiny" in said
    assert "training_args.bin" in said
    assert file_digest(adapter / WEIGHTS)[:40] in said
    assert len(desk.registry.drafts("bot")) == 1
    assert desk.registry.versions("bot") == []


def test_a_refusal_has_a_code_a_sentence_and_status_1(desk: Desk, adapter: Path) -> None:
    configured(use_dora=True)(adapter)
    said = " ".join(graft("models", "import", str(adapter), "--name", "bot", status=1).stderr.split())
    assert "DoRA is not served; train without use_dora" in said
    assert "[adapter_uses_dora]" in said
    assert desk.registry.names() == []
    assert list(desk.registry.root.iterdir()) == []


def failing_probe(*_: Any) -> Any:
    raise Unservable("it cannot be probed: it does nothing", code="adapter_not_probed")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"name": "../up"}, InvalidInput, "cannot be a model name"),
        ({"name": "tiny"}, InvalidInput, "is the name of a base"),
        ({"name": "bot", "base": "other"}, InvalidInput, "no base 'other' in the settings"),
        ({"name": "bot"}, Unservable, "adapter_not_probed"),
    ],
)
def test_an_import_that_fails_leaves_nothing(
    desk: Desk, adapter: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, error: type[GraftError], said: str
) -> None:
    monkeypatch.setattr(transfer, "record_probe", failing_probe)
    with pytest.raises(error, match=said):
        transfer.import_(str(adapter), **arguments)
    assert desk.registry.names() == []


def test_an_adapter_without_effect_is_named_by_the_probe(base: Path, adapter: Path, tmp_path: Path) -> None:
    configured(lora_alpha=1e-9)(adapter)
    with pytest.raises(Unservable) as refused:
        transfer.record_probe(base, adapter, tmp_path / "probe.json")
    assert refused.value.code == "adapter_not_probed"
    assert "Traceback" not in refused.value.message


def test_importing_the_same_again_adds_no_version(desk: Desk, adapter: Path, unprobed: None) -> None:
    for _ in range(2):
        transfer.import_(str(adapter), name="bot")
    assert desk.registry.versions("bot") == [1]


@pytest.fixture
def imported(desk: Desk, adapter: Path, unprobed: None) -> str:
    transfer.import_(str(adapter), name="bot")
    return "bot@1"


def file_there(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine").touch()


@pytest.mark.parametrize("in_the_way", [file_there, Path.touch])
def test_an_export_never_touches_what_is_there(imported: str, tmp_path: Path, in_the_way: Callable[[Path], None]) -> None:
    in_the_way(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Conflict, match="not empty"):
        transfer.export(imported, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_goes_into_an_empty_folder(imported: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    transfer.export(imported, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_a_model_that_is_only_a_prompt_has_nothing_to_export(desk: Desk, tmp_path: Path) -> None:
    desk.registry.publish(desk.registry.add(AdaptedModel("shots", 0, "tiny", prompt=PromptTemplate("Be brief."))))
    with pytest.raises(InvalidInput, match="only a prompt"):
        transfer.export("shots@1", tmp_path / "out")
    assert not (tmp_path / "out").exists()
