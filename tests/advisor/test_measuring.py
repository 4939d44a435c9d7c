"""What is measured of a file with the real encoder and a tiny base, on small data written here, and the advice that follows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.conversation import DOCUMENT, Example, Message
from adapters.embedded import encoder_folder
from adapters.errors import InvalidInput
from adapters.retrieval.chunks import Passage
from adapters.retrieval.encoder import Encoder
from advisor.advice import from_dataset
from advisor.evidence import by_name, number
from advisor.knowledge import holds, in_documents, knowledge, library
from advisor.measuring import measure
from advisor.shift import sample
from advisor.shift.distance import distance
from advisor.stated import Stated
from tests.tiny import rows as tickets
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
    without, with_them = from_dataset(file, gpu_gib=8.0), from_dataset(file, docs=documents, gpu_gib=8.0)
    before, after = ({one.method: one.score for one in made.ranking}["rag"] for made in (without, with_them))
    assert after > before


# -- the evidence

ALWAYS = {
    "n_examples", "usable_rows", "distinct_prompts", "duplicate_share", "near_duplicate_share", "contradicting_share",
    "answer_words", "longest_answer_words", "dataset_tokens", "tokens_per_example", "answer_tokens", "task_type",
    "answer_entropy_bits", "distinct_answer_share", "language", "naturalness", "naturalness_null", "volatile_share",
    "domain_shift", "domain_shift_null", "subject_shift", "language_shift", "mmd2", "mmd2_null", "c2st_accuracy", "c2st_null",
    "probe_rows",
}  # fmt: skip
LABELS = {"n_classes", "examples_per_class", "fewest_per_class", "imbalance", "majority_share", "knn_cv_score",
          "linear_probe_cv_score", "knn_cv_score.half", "linear_probe_cv_score.quarter"}  # fmt: skip
BASE = {"zero_shot_score", "few_shot_score", "knn_shot_score", "few_shot_slope", "format_gap", "answer_nats_zero_shot",
        "answer_nats_few_shot", "base_score", "bits_per_byte", "bits_per_byte_reference", "bits_per_byte_null",
        "tokens_per_byte", "tokens_per_byte_reference"}  # fmt: skip
DOCUMENTS = {"corpus_tokens", "answers_in_documents", "answers_by_chance", "closed_book_score", "oracle_score",
             "retrieved_score", "random_passage_score", "gain_nats_oracle", "gain_nats_retrieved", "gain_nats_random",
             "unknown_share"}  # fmt: skip


def test_all_that_is_measured_of_labels_has_its_name_its_n_and_its_interval(tmp_path: Path) -> None:
    steps: list[str] = []
    examples = asked(*tickets(60))
    base = tiny_llama(tmp_path / "base")
    found = by_name(measure(examples, base_folder=base, test=asked(*tickets(4)), said=steps.append))
    wanted = ALWAYS | LABELS | BASE | {"zero_shot_choices_score", "leakage_share"}
    assert wanted - set(found) == set()
    assert DOCUMENTS & set(found) == {"corpus_tokens"}
    assert found["corpus_tokens"].value == 0
    assert found["leakage_share"].value == 1.0
    for name in wanted:
        one = found[name]
        assert one.how
        assert one.value is not None, one
        assert one.n or name == "probe_rows", one
        if one.unit in ("share", "nats per token", "bits") and name not in NO_INTERVAL:
            assert one.interval is not None, one
            assert one.interval[0] <= one.interval[1]
    assert steps[0] == "opening the models"
    assert any("question 1 of" in step for step in steps)


NO_INTERVAL = ("naturalness", "answer_entropy_bits", "subject_shift", "language_shift")


def test_documents_add_what_the_base_makes_of_them_and_the_same_again(tmp_path: Path, documents: Path) -> None:
    rows = asked(*((question, answer) for question, (answer, _) in FACTS.items()))
    base = tiny_llama(tmp_path / "base")
    one, other = (measure(rows, documents=documents, base_folder=base) for _ in range(2))
    assert one == other
    found = by_name(one)
    assert (ALWAYS | BASE | DOCUMENTS | {"knn_answer_score"}) - set(found) == set()
    assert all(found[name].n == len(rows) for name in ("oracle_score", "closed_book_score", "unknown_share"))
    assert number(found, "answers_in_documents") == 1.0


def test_what_a_slow_machine_cannot_ask_in_time_is_told_by_name(tmp_path: Path) -> None:
    examples = asked(*tickets(60))
    found = by_name(measure(examples, base_folder=tiny_llama(tmp_path / "base"), patience=0.0))
    unasked = {one.name for one in found.values() if one.value is None}
    assert unasked >= BASE - {"base_score"}
    assert all("the time was up" in found[name].how for name in unasked)
    assert "base_score" not in found, "it follows from what was not asked"
    assert found["knn_cv_score"].value is not None


def test_no_rows_are_no_data() -> None:
    with pytest.raises(InvalidInput, match="no rows"):
        measure([])


def test_one_row_and_plain_texts_are_measured_as_far_as_they_go(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    one = by_name(measure(asked(("Where is it?", "Here.")), base_folder=base))
    assert one["zero_shot_score"].n == 1
    assert one["knn_answer_score"].value is None
    texts = [Example((Message(DOCUMENT, f"A text on {n}, which answers nothing."),), n, (0,)) for n in range(9)]
    plain = by_name(measure(texts, base_folder=base))
    assert isinstance(plain["bits_per_byte"].value, float)
    assert "zero_shot_score" not in plain


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


def test_of_many_passages_those_that_share_words_with_a_row_are_encoded(encoder: Encoder) -> None:
    rows = asked(*((question, answer) for question, (answer, _) in FACTS.items()))
    told = [Passage(n, 0, len(text), "", text) for n, (_, text) in enumerate(FACTS.values())]
    other = [Passage(n, 0, 60, "", f"Number {n} of the long list of things that nobody asks for.") for n in range(300)]
    books = library([*other, *told], rows, encoder, seed=0, pieces=800)
    assert len(books.passages) < 80
    assert {passage.text for passage in told} <= {passage.text for passage in books.passages}
    assert f"{len(books.passages)} of 312 passages" in books.partly
    found = by_name(in_documents(books, rows, encoder.encode([row.question for row in rows]), seed=0))
    assert number(found, "answers_in_documents") == 1.0
    assert "of 312 passages" in found["answers_in_documents"].how
    few = library([*other, *told], rows, encoder, seed=0, pieces=120)
    assert 0 < few.covered < len(rows)
    found = by_name(in_documents(few, rows, encoder.encode([row.question for row in rows]), seed=0))
    assert (found["answers_in_documents"].n, found["answers_in_documents"].value) == (few.covered, 1.0)


def test_rows_that_name_their_answers_labels_are_a_classification(tmp_path: Path) -> None:
    file = tmp_path / "languages.jsonl"
    file.write_text("".join(json.dumps({"text": f"word {n}", "label": f"language {n}"}) + "\n" for n in range(8)))
    found = {one.name: one for one in from_dataset(file, gpu_gib=8.0).evidence}
    assert (found["task_type"].value, found["n_classes"].value) == ("classification", 8)


def test_rows_of_raw_text_are_what_there_is_to_pretrain_on() -> None:
    found = by_name(
        measure([Example((Message(DOCUMENT, text),), line, (0,)) for line, (_, text) in enumerate(FACTS.values(), start=1)])
    )
    assert found["corpus_tokens"].value == found["dataset_tokens"].value
