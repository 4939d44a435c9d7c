"""`graft advise`: the flags are the advisor's table of facts, and reach its program as they were said."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from pathlib import Path

import cyclopts
import pytest

from advisor.stated import FIELDS, Stated, parse
from gateway.cli import advise as verb
from gateway.cli.facts import Facts, flags


def test_flags_are_the_table_of_facts_with_its_short_names() -> None:
    assert list(Facts.__dataclass_fields__) == list(FIELDS)
    hints = typing.get_type_hints(Facts, include_extras=True)
    for name, field in FIELDS.items():
        said = next((one for one in typing.get_args(hints[name]) if isinstance(one, cyclopts.Parameter)), None)
        short = () if said is None else tuple(said.name or ())
        assert short == ((f"--{field.short}", f"--{name.replace('_', '-')}") if field.short else ())


def test_what_is_said_reaches_the_advisor_as_it_was_said() -> None:
    facts = Facts(
        n_examples=250, domain_shift=0.4, knowledge_changes=False, needs_new_knowledge="0.3", gpu="rtx 4090", price_per_hour=0.5
    )
    pairs = (flag.removeprefix("--").split("=") for flag in flags(facts))
    said = {name.replace("-", "_"): word for name, word in pairs}
    stated = Stated(
        n_examples=250, domain_shift=0.4, knowledge_changes=False, needs_new_knowledge=0.3, gpu="rtx 4090", price_per_hour=0.5
    )
    assert parse(said) == stated


@pytest.mark.parametrize("wants_html", [False, True])
def test_the_program_is_given_the_base_only_where_one_is_meant(
    wants_html: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[str] = []
    monkeypatch.setattr(verb.os, "execv", lambda _, argv: given.extend(argv))
    verb.advise(facts=Facts(n_examples=250), profile="cost", html=tmp_path / "r.html" if wants_html else None)
    assert given[:5] == [sys.executable, "-m", "advisor", "--n-examples=250", "--profile=cost"]
    assert "--base" not in given
    assert ("--html" in given) == wants_html


def test_numbers_alone_are_enough_on_a_command_line() -> None:
    argv = ["-m", "gateway.cli.main", "advise", "--n", "250", "--shift", "0.4", "--classes", "5", "--json"]
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert made["ranking"][0]["method"] == made["recommendation"]["method"]
    wrong = subprocess.run([sys.executable, *argv[:4], "many"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "many" in wrong.stdout + wrong.stderr
