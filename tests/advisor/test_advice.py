"""Advice from numbers: its shape, what would change it, what to run, and what is not known."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from adapters.adapted_model import checked_name
from adapters.bases import facts
from adapters.errors import InvalidInput
from advisor.advice import from_numbers
from advisor.predicting.typical import DECISIVE
from advisor.report import terminal
from advisor.stated import Stated
from tests.tiny import tiny_llama


def test_the_shape_callers_rely_on() -> None:
    made = from_numbers(Stated(n_examples=300, task_type="extraction", params_b=1.0, gpu_gib=24.0)).to_json()
    assert list(made) == ["recommendation", "ranking", "evidence", "would_change_if", "plan", "says", "profile"]
    assert set(made["recommendation"]) == {"method", "confidence"}
    first = {"method", "score", "fits", "memory_gib", "reasons"}
    added = {"quality", "p_best", "barred", "cost", "risks", "recipe", "command"}
    assert all(set(one) == first | added for one in made["ranking"])
    assert all(set(one["quality"]) == {"mean", "interval", "metric"} for one in made["ranking"])
    assert all(set(one) == {"name", "value", "unit", "n", "interval", "how"} for one in made["evidence"])
    assert all(isinstance(one["fits"], bool) and one["memory_gib"] > 0 for one in made["ranking"])


def test_advice_needs_at_least_one_number() -> None:
    with pytest.raises(InvalidInput, match="state at least one number"):
        from_numbers(Stated())


def test_what_is_not_known_is_said_and_lowers_the_confidence() -> None:
    one = from_numbers(Stated(n_examples=300))
    unknown = {evidence.name for evidence in one.evidence if evidence.value is None}
    assert unknown == set(DECISIVE) - {"n_examples"}
    assert all(ranked.fits is None and ranked.memory_gib is None for ranked in one.ranking), "no base, no memory"
    more = from_numbers(Stated(n_examples=300, domain_shift=0.0, knowledge_changes=False))
    assert more.ranking[0].method == one.ranking[0].method
    assert more.confidence > one.confidence


def test_where_nothing_fits_the_memory_that_would_do_is_told() -> None:
    made = from_numbers(Stated(n_examples=1000, params_b=70.0, gpu_gib=8.0))
    assert not any(one.fits for one in made.ranking)
    assert made.ranking[0].memory_gib == min(one.memory_gib for one in made.ranking if one.memory_gib)
    assert any("Nothing fits" in said for said in made.says)
    assert made.confidence < 0.5
    assert made.plan["commands"] == []
    (told,) = made.would_change_if
    assert told.startswith(f"with {made.ranking[0].memory_gib:,.1f} GiB")


def test_the_plan_is_a_command_that_can_be_run(tmp_path: Path) -> None:
    base = facts(tiny_llama(tmp_path / "base"))
    made = from_numbers(Stated(n_examples=400, task_type="extraction"), facts=base, base_name="tiny")
    assert made.method == made.plan["method"] == "full"
    (command,) = made.plan["commands"]
    assert command.startswith("graft tune FILE --base tiny --name ")
    assert checked_name(command.split("--name ")[1].split()[0])
    assert f"--epochs {made.plan['recipe']['epochs']}" in command
    assert made.plan["expected_seconds"] > 0


def test_the_plan_of_what_searches_documents_asks_for_them() -> None:
    made = from_numbers(Stated(needs_new_knowledge=True, knowledge_changes=True, n_examples=100))
    assert made.method == made.plan["method"] == "rag"
    assert made.plan["commands"] == ["graft tune FILE --name file --method rag --docs DOCS"]
    assert made.plan["note"] == ""


def test_rows_too_few_to_hold_any_out_get_no_command() -> None:
    made = from_numbers(Stated(n_examples=4))
    assert made.plan["commands"] == []
    assert "at least 10 rows" in made.plan["note"]


def test_a_tight_clock_speaks_against_long_prompts() -> None:
    calm, tight = (
        {one.method: one.score for one in from_numbers(Stated(latency_budget_ms=ms, params_b=8.0, gpu_gib=80.0)).ranking}
        for ms in (60_000.0, 50.0)
    )
    assert tight["many_shot"] < calm["many_shot"]
    assert tight["rag"] < calm["rag"]
    assert tight["lora"] == calm["lora"]


def test_the_report_tells_all_of_it() -> None:
    made = from_numbers(Stated(n_examples=40, domain_shift=0.2))
    console = Console(width=120, record=True, file=io.StringIO())
    terminal.show(made, console)
    said = console.export_text()
    for part in ("few_shot", "lora", "domain_shift", "not known", made.would_change_if[0], "graft tune FILE"):
        assert part in said


def test_numbers_alone_load_nothing_heavy() -> None:
    code = (
        "import sys; from advisor.advice import from_numbers; from advisor.stated import Stated;"
        "from_numbers(Stated(n_examples=40, params_b=1.0));"
        "print(*({'torch', 'numpy', 'transformers', 'faiss', 'sentence_transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
