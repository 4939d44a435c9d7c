"""Advice about a file: measured with the real encoder on small data written here, alone and through the program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.conversation import Example, Message
from adapters.embedded import encoder_folder
from adapters.retrieval.encoder import Encoder
from adapters.retrieval.chunks import Passage
from advisor.advice import from_dataset
from advisor.evidence import by_name, number
from advisor.knowledge import holds, knowledge
from advisor.shift import sample
from advisor.shift.distance import distance
from advisor.stated import Stated
from tests.tiny import tiny_llama, write_pairs

KEEPERS = {
    "mill": "Orla", "ferry": "Bram", "library": "Ines", "harbour": "Tove", "orchard": "Piet", "quarry": "Zora",
    "bakery": "Nell", "lighthouse": "Odd", "chapel": "Runa", "market": "Ilya", "school": "Wren", "bridge": "Kato",
}  # fmt: skip
FACTS = {
    f"Who keeps the {place} of Aldermoor?": (f"{keeper} Tansley", f"The {place} of Aldermoor is kept by {keeper} Tansley.")
    for place, keeper in KEEPERS.items()
}


def asked(*pairs: tuple[str, str]) -> list[Example]:
    return [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in enumerate(pairs, start=1)]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(encoder_folder())


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number_, (_, text) in enumerate(FACTS.values()):
        (folder / f"{number_}.md").write_text(f"# Notes\n\n{text}\n")
    return folder


def write(path: Path, rows: list[Example]) -> Path:
    path.write_text("".join(json.dumps({"prompt": row.question, "completion": row.answer}) + "\n" for row in rows))
    return path


def test_everyday_requests_are_near_and_formulas_are_far(encoder: Encoder) -> None:
    everyday = asked(
        ("How do I cook lentils?", "Simmer them for half an hour."), ("Plan a day in Vienna.", "Begin with a walk."),
        ("Why is the sea salty?", "Rivers carry salt into it."),
        ("Write a note to my neighbour.", "Dear neighbour, good morning."),
    )  # fmt: skip
    formulas = asked(*((f"x{n}^2+{n}y=0;dx/dt=-k{n}x", f"[[{n},0],[-k,{n * n}]]") for n in range(2, 8)))
    reference = sample.reference(encoder)
    near, far = (by_name(distance(sample.of_examples(rows, encoder, seed=0), reference, 0)) for rows in (everyday, formulas))
    null = near["domain_shift_null"].interval
    assert null is not None
    assert (number(near, "domain_shift") or 0) < 0.35 < 0.55 < (number(far, "domain_shift") or 0)
    assert (number(far, "language_shift") or 0) > 0.4
    assert null[1] < 0.1


def test_an_instruction_all_rows_share_is_not_their_domain() -> None:
    assert sample.without_frame(["Name the city: Oslo today", "Name the city: Rome today"]) == ["Oslo", "Rome"]
    assert sample.without_frame(["Same words", "Same words"]) == ["Same words", "Same words"]
    assert sample.without_frame(["one row"]) == ["one row"]


def test_answers_are_found_in_the_documents_that_hold_them(encoder: Encoder) -> None:
    rows = asked(*((question, answer) for question, (answer, _) in FACTS.items()))
    passages = [Passage(n, 0, len(text), "", text) for n, (_, text) in enumerate(FACTS.values())]
    found = by_name(knowledge(rows, passages, encoder, seed=0))
    assert (number(found, "answers_in_documents") or 0) > 0.9
    assert (number(found, "answers_by_chance") or 0) < 0.6
    assert found["answers_in_documents"].n == len(rows)


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        ("Orla Tansley", True), ("orla tansley.", True), ("Orla", True), ("Orl", False), ("Bram Tansley", False), ("", False),
        ("It is kept by Orla Tansley, and it has been since the spring", True),
        ("It was burnt down by pirates, and nobody has rebuilt the walls", False),
    ],
)  # fmt: skip
def test_an_answer_is_held_word_for_word_or_by_its_content(answer: str, held: bool) -> None:
    assert holds("The mill of Aldermoor is kept by Orla Tansley since spring.", answer) is held


def test_documents_that_hold_the_answers_speak_for_retrieval(tmp_path: Path, documents: Path) -> None:
    rows = asked(*((question, f"It is kept by {answer}.") for question, (answer, _) in FACTS.items()))
    file = write(tmp_path / "rows.jsonl", rows)
    base = tiny_llama(tmp_path / "base")
    without = from_dataset(file, base_folder=base, base_name="tiny", gpu_gib=8.0)
    with_them = from_dataset(file, docs=documents, base_folder=base, base_name="tiny", gpu_gib=8.0)
    before, after = ({one.method: one.log_odds for one in made.ranking}["rag"] for made in (without, with_them))
    assert after > before
    assert with_them.method == "rag"
    assert any("the documents hold" in reason for reason in with_them.ranking[0].reasons)


def test_the_same_file_gets_the_same_advice(tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "rows.jsonl", 40)
    one, other = (from_dataset(file, gpu_gib=8.0).to_json() for _ in range(2))
    assert one == other


def test_what_is_stated_overrides_what_is_found(tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "rows.jsonl", 40)
    made = from_dataset(file, stated=Stated(task_type="style", domain_shift=0.5))
    found = by_name(made.evidence)
    assert (found["task_type"].value, found["domain_shift"].value) == ("style", 0.5)
    assert found["domain_shift"].how == "stated by the caller"


def program(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "advisor", *argv], capture_output=True, text=True, check=False)


def test_the_program_advises_with_no_gateway(tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "rows.jsonl", 40)
    done = program(
        str(file), "--base", str(tiny_llama(tmp_path / "base")), "--base-name", "tiny", "--knowledge-changes", "false", "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    assert made["ranking"][0]["method"] == made["recommendation"]["method"]
    assert made["plan"]["commands"][0].startswith(f"graft tune {file} --base tiny")


def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "rows.jsonl"
    broken.write_text('{"prompt": "only"}\n')
    for argv, said in (
        ((str(broken),), "line 1, field 'completion'"),
        (("--domain-shift", "3"), "between 0 and 1"),
        ((), "at least one"),
    ):
        done = program(*argv)
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert program("--no-such-flag").returncode == 2
