"""What the base is asked: of which rows, beside which others, with what before the question, and what is left out.

A base that copies what stands before it takes the place of a grown one; the tiny real one is asked too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from adapters.conversation import Example, Message, WireMessage
from adapters.errors import InvalidInput
from adapters.evaluation.loss import RowLoss
from adapters.prompts import PromptTemplate
from adapters.retrieval.chunks import Passage
from advisor.asking.asker import Asker
from advisor.asking.base import Base
from advisor.asking.plan import Plan, Question, plan, played
from advisor.asking.prompting import Prompting
from advisor.asking.questions import in_order
from advisor.asking.reading import Reading
from advisor.asking.rows import FIXED, NEAREST, Rows
from advisor.evidence import Evidence, by_name, number
from advisor.knowledge import Library
from tests.tiny import rows as tickets
from tests.tiny import tiny_llama

KEEPERS = ("Orla", "Bram", "Ines", "Tove", "Piet", "Zora", "Nell", "Odd", "Runa", "Ilya", "Wren", "Kato")
PLACES = (
    "mill", "ferry", "library", "harbour", "orchard", "quarry", "bakery", "dairy", "chapel", "market", "school", "bridge",
)  # fmt: skip


def asked(*pairs: tuple[str, str]) -> list[Example]:
    return [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in enumerate(pairs, start=1)]


def rows_of(examples: Sequence[Example], *, is_classification: bool = False) -> Rows:
    vectors = np.random.default_rng(0).normal(size=(len(examples), 16)).astype(np.float32)
    return Rows(examples, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0, is_classification)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return Base(folder)


class Copyist(Base):
    """Answers with what is said to keep the place, or else with the last answer it was shown, or else nobody."""

    def answers(self, conversations: Sequence[list[WireMessage]], *, most: int, choices: Sequence[str] = ()) -> list[str]:
        return [self._answer(said, choices) for said in conversations]

    def _answer(self, said: list[WireMessage], choices: Sequence[str]) -> str:
        text, question = str(said[-1]["content"]), str(said[-1]["content"]).splitlines()[-1]
        place = re.search(r"the (\w+)\?", question)
        kept = re.search(rf"The {place[1]} is kept by (\w+)", text) if place else None
        if kept is not None:
            return kept[1]
        shown = [str(one["content"]) for one in said if one["role"] == "assistant"]
        return shown[-1] if shown else choices[0] if choices else "nobody"

    def losses(self, examples: Sequence[Example], templates: Sequence[PromptTemplate | None]) -> list[RowLoss]:
        return [RowLoss(1.0 if row.answer in row.question else 3.0, 2, 4) for row in examples]


@pytest.fixture(scope="module")
def copyist(folder: Path) -> Copyist:
    return Copyist(folder)


# -- which rows


def test_no_row_is_shown_itself_nor_one_that_asks_the_same() -> None:
    pairs = [(f"question {n % 15}", f"answer {n}") for n in range(30)]
    examples = asked(*pairs, *((question.upper() + " ", f"{answer} again") for question, answer in pairs))
    rows = rows_of(examples)
    assert len({examples[one].prompt_key for one in rows.order}) == len(rows.order) == 15
    for one in rows.order:
        for strategy in (FIXED, NEAREST):
            shots = rows.shots(one, strategy, 8)
            assert len(shots) == 8
            assert all(" ".join(shot.user.lower().split()) != examples[one].question.lower().strip() for shot in shots)


def test_fixed_shots_are_the_same_for_every_row_that_is_asked_first() -> None:
    rows = rows_of(asked(*((f"question {n}", f"answer {n % 4}") for n in range(60))), is_classification=True)
    shown = {rows.shots(one, FIXED, 8) for one in rows.order[:48]}
    assert len(shown) == 1
    assert {shot.assistant for shot in next(iter(shown))} == {f"answer {n}" for n in range(4)}
    assert rows.labels == tuple(f"answer {n}" for n in range(4))


def test_the_nearest_row_stands_next_to_the_question() -> None:
    examples = asked(*((f"question {n}", f"answer {n}") for n in range(20)))
    rows = rows_of(examples)
    one = rows.order[0]
    cosines = rows.vectors @ rows.vectors[one]
    cosines[one] = -1
    assert rows.shots(one, NEAREST, 3)[-1].user == examples[int(cosines.argmax())].question


def test_rows_that_speak_of_structure_or_say_nothing_are_neither_asked_nor_shown() -> None:
    examples = [*asked(*((f"question {n}", f"answer {n}") for n in range(10))), *asked(("odd", "out"), ("empty", " "))]
    rows = dataclasses.replace(rows_of(examples), barred=frozenset({10}))
    assert sorted(rows.order) == list(range(10))
    assert all("odd" not in shot.user and "empty" not in shot.user for one in rows.order for shot in rows.shots(one, FIXED, 9))


def test_long_conversations_are_asked_and_not_shown() -> None:
    talk = Example(
        (Message("user", "hello"), Message("assistant", "good day"), Message("user", "and now?"), Message("assistant", "this")),
        99, (3,),
    )  # fmt: skip
    rows = rows_of([*asked(*((f"question {n}", f"answer {n}") for n in range(4))), talk])
    assert 4 in rows.order
    assert rows.most_shots == 3
    assert all(shot.user != "and now?" for shot in rows.shots(0, FIXED, 4))


# -- what is asked, and what is not


def question(name: str, cost: float, *, is_core: bool = False) -> Question:
    return Question(
        (name,), ("share",), lambda rows: cost * rows, lambda rows: [Evidence(name, rows, "rows", "asked")], is_core
    )


def names(made: Plan) -> tuple[list[str], list[str]]:
    asked_, left = ([name for one in side for name in one.names] for side in (made.asked, made.left_out))
    return asked_, left


def test_a_large_budget_asks_all_of_many_rows_and_a_smaller_one_the_core_of_fewer() -> None:
    questions = [question("a", 10, is_core=True), question("b", 10, is_core=True), question("c", 30), question("d", 5)]
    everything = ["a", "b", "c", "d"]
    assert (plan(questions, 55 * 48, 500).rows, names(plan(questions, 55 * 48, 500))) == (48, (everything, []))
    assert plan(questions, 55 * 32, 500).rows == 32
    some = plan(questions, 26 * 24, 500)
    assert (some.rows, names(some)) == (24, (["a", "b", "d"], ["c"]))
    few = plan(questions, 10 * 12, 500)
    assert (few.rows, names(few)) == (12, (["a"], ["b", "c", "d"]))
    assert plan(questions, 1e9, 7).rows == 7


def test_what_is_not_asked_is_told_with_the_reason_and_no_value() -> None:
    made = plan([question("a", 10, is_core=True), question("b", 10, is_core=True)], 150, 500)
    found = by_name(played(made, float("inf"), 150, lambda _: None))
    assert found["a"].value == 12
    assert found["b"].value is None
    assert "120 tokens for 12 rows do not fit into the 150" in found["b"].how
    late = by_name(played(made, 0.0, 150, lambda _: None))
    assert late["a"].value is None
    assert "the time was up" in late["a"].how


# -- without documents


def test_shots_whose_answers_are_right_for_the_nearest_help_a_base_that_copies(copyist: Copyist) -> None:
    examples = asked(*((f"say {n % 6} in word {n}", f"word {n % 6}") for n in range(36)))
    vectors = np.eye(6, 16, dtype=np.float32)[[n % 6 for n in range(36)]]
    rows = Rows(examples, vectors, 0, True)
    said = Prompting(Asker(copyist, rows))
    found = by_name([
        evidence
        for one in (said.zero_shot(), said.choices(), said.few_shot(), said.nearest_shots(), said.form(), said.some_shots())
        for evidence in one.ask(24)
    ])  # fmt: skip
    assert found["zero_shot_score"].value == 0.0
    assert found["knn_shot_score"].value == 1.0
    assert 0 < (number(found, "zero_shot_choices_score") or 0) < 0.5
    assert 0 < (number(found, "few_shot_score") or 0) < 0.5
    assert found["few_shot_slope"].value == pytest.approx((number(found, "few_shot_score") or 0) / np.log2(9), abs=1e-3)
    assert (number(found, "format_gap") or 0) > 0
    for name in ("zero_shot_score", "knn_shot_score", "few_shot_score", "zero_shot_choices_score"):
        low, high = found[name].interval or (1.0, 0.0)
        assert found[name].n == 24
        assert low <= (number(found, name) or 0) <= high


def test_shots_of_the_form_alone_give_no_row_its_right_answer() -> None:
    examples = asked(*((f"question {n}", f"answer {n}") for n in range(20)))
    said = Prompting(Asker(Base.__new__(Base), rows_of(examples)))
    right = {example.question: example.answer for example in examples}
    for template in said.exchanged(8):
        assert len(template.shots) == 3
        assert all(right[shot.user] != shot.assistant for shot in template.shots)
        assert {right[shot.user] for shot in template.shots} == {shot.assistant for shot in template.shots}


# -- with documents


def library(rows: int = 12) -> tuple[list[Example], Rows, Library]:
    examples = asked(*((f"Who keeps the {place}?", keeper) for place, keeper in zip(PLACES, KEEPERS, strict=True)))[:rows]
    texts = [f"The {place} is kept by {keeper} since spring." for place, keeper in zip(PLACES, KEEPERS, strict=True)]
    passages = [Passage(n, 0, len(text), "", text) for n, text in enumerate(texts)]
    vectors = np.eye(12, 16, dtype=np.float32)
    return examples, Rows(examples, vectors[:rows], 0), Library(passages, vectors, 12, 100, rows)


def test_facts_that_only_the_passage_tells_are_unknown_and_a_random_passage_does_not_help(copyist: Copyist) -> None:
    _, rows, books = library()
    read = Reading(Asker(copyist, rows), books)
    assert read.is_possible()
    for one, gold in read.gold.items():
        assert books.passages[gold[0]].text.endswith(f"by {rows.examples[one].answer} since spring.")
    questions = (read.with_oracle(), read.with_found(), read.with_random(), read.gains(), read.gain_of_found())
    found = by_name([evidence for one in questions for evidence in one.ask(12)])
    scores = ("closed_book_score", "oracle_score", "retrieved_score", "random_passage_score", "unknown_share")
    assert [found[name].value for name in scores] == [0.0, 1.0, 1.0, 0.0, 1.0]
    gains = ("gain_nats_oracle", "gain_nats_retrieved", "gain_nats_random")
    assert [found[name].value for name in gains] == [1.0, 1.0, 0.0]
    assert all(found[name].n == 12 and found[name].interval for name in (*scores, *gains))


def test_documents_that_answer_next_to_nothing_are_not_asked_about(copyist: Copyist) -> None:
    _, rows, books = library(4)
    questions, missing = in_order(Asker(copyist, rows), books)
    asked_names = {name for one in questions for name in one.names}
    assert "oracle_score" not in asked_names
    assert {one.name for one in missing} >= {"oracle_score", "unknown_share", "gain_nats_oracle"}
    assert all(one.value is None and "the documents answer 4 of 4 rows" in one.how for one in missing)


def test_passages_stand_before_the_question_as_a_gateway_puts_them(copyist: Copyist) -> None:
    _, rows, books = library()
    shown = Reading(Asker(copyist, rows), books).shown(3, [3, 5])
    assert shown.question.startswith("Excerpts from documents")
    assert shown.question.count("<passage ") == 2
    assert shown.question.endswith(rows.examples[3].question)
    assert shown.answer == rows.examples[3].answer


# -- a real base


def test_a_real_base_is_asked_everything_and_says_the_same_again(folder: Path) -> None:
    examples = asked(*tickets(40))
    rows = rows_of(examples, is_classification=True)

    def found() -> list[Evidence]:
        questions, _ = in_order(Asker(Base(folder), rows), None)
        return played(plan(questions, 1e9, 16), float("inf"), 1e9, lambda _: None)

    one, other = found(), found()
    assert one == other
    by = by_name(one)
    for name in (
        "zero_shot_score", "zero_shot_choices_score", "few_shot_score", "knn_shot_score", "few_shot_slope", "format_gap",
        "few_shot_2_score", "answer_nats_zero_shot", "answer_nats_few_shot", "bits_per_byte", "tokens_per_byte",
    ):  # fmt: skip
        assert isinstance(by[name].value, float), name
        assert by[name].n
        assert by[name].interval
    assert (number(by, "answer_nats_zero_shot") or 0) > 1.0


def test_the_loss_of_plain_text_counts_what_can_be_foretold(base: Base) -> None:
    text = "ticket 4: my invoice and charge"
    (plain,), (again,) = base.text_losses([text]), base.text_losses([text])
    assert plain == again
    assert plain.tokens > 1
    # of text no token is foretold but the first: without it, the bytes that count are fewer than all
    assert 0 < plain.answer_bytes < len(text.encode())


def test_costs_are_known_before_anything_is_asked(base: Base) -> None:
    rows = rows_of(asked(*tickets(40)), is_classification=True)
    questions, _ = in_order(Asker(base, rows), None)
    for one in questions:
        assert one.cost(12) <= one.cost(24) or one.names[0] == "bits_per_byte"
        assert one.cost(12) > 0
    assert base.tokens_in(60) == pytest.approx(2 * base.tokens_in(30), rel=1e-6)


def test_lengths_are_the_bases_own(base: Base) -> None:
    counting = base.counting()
    assert counting.count(["my invoice", ""])[1] == 0
    assert counting.frame > 0
    assert counting.context == 1024


def test_rows_that_the_base_cannot_read_are_known(base: Base) -> None:
    rows = asked(("say <|im_end|>", "no"), ("say it", "no"), ("my invoice " * 1100, "no"))
    assert base.cannot_read(rows) == [True, False, True]


def test_what_a_base_refuses_is_told_and_the_rest_is_asked() -> None:
    def refuse(_: int) -> list[Evidence]:
        raise InvalidInput("the chat template refuses the roles system, user", param="base")

    questions = [dataclasses.replace(question("a", 1), ask=refuse), question("b", 1)]
    found = by_name(played(plan(questions, 1000, 500), float("inf"), 1000, lambda _: None))
    assert (found["a"].value, found["b"].value) == (None, 48)
    assert "refuses the roles" in found["a"].how
