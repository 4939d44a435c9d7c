"""What the rows themselves say."""

from __future__ import annotations

import pytest

from adapters.conversation import Example, Message
from advisor.evidence import Evidence, by_name, wilson
from advisor.profile import profile, task_type


def examples(*pairs: tuple[str, str]) -> list[Example]:
    return [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in enumerate(pairs, start=1)]


def found(*pairs: tuple[str, str]) -> dict[str, Evidence]:
    return by_name(profile(examples(*pairs)))


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [
        ("classification", [(f"ticket {n}", ("billing", "delivery", "account")[n % 3]) for n in range(30)]),
        ("classification", [(f"is {n} fine?", ("yes", "no")[n % 2]) for n in range(8)]),
        # 64 rows of 30 labels, 12 of which occur once
        ("classification", [(f"1. e{n}", f"opening {n if n < 12 else 12 + n % 18}") for n in range(64)]),
        ("question_answering", [(f"who found {n}?", f"explorer {n if n < 40 else n % 12 + 40}") for n in range(64)]),
        ("extraction", [(f"order {n}", f'{{"order": {n % 2}}}') for n in range(20)]),
        ("question_answering", [(f"When did {n} begin?", f"In the year {n}, in spring") for n in range(20)]),
        ("question_answering", [(f"Which version has feature {n}?", str(n % 5)) for n in range(40)]),
        ("generation", [(f"Write about {n}", f"{n} is a thing that was made long ago") for n in range(20)]),
        ("generation", [("Hello", "Good day to you")]),
    ],
)
def test_the_kind_of_task_is_read_off_the_answers(kind: str, pairs: list[tuple[str, str]]) -> None:
    guessed, how = task_type(examples(*pairs))
    assert guessed == kind
    assert how.startswith("guessed")


def test_a_kind_of_task_that_is_known_is_not_guessed() -> None:
    rows = examples(*[(f"text {n}", f"language {n}") for n in range(6)])
    assert task_type(rows)[0] != "classification"
    found = by_name(profile(rows, kind=("classification", "the rows name their answers labels")))
    assert (found["task_type"].value, found["n_classes"].value) == ("classification", 6)


def test_repeated_and_contradicting_rows_are_counted() -> None:
    said = found(
        ("Where is it?", "here, on the table"), ("where  is it?", "Here, on the table"), ("Where is it?", "gone for good")
    )
    assert (said["n_examples"].value, said["distinct_prompts"].value) == (3, 1)
    assert said["duplicate_share"].value == pytest.approx(1 / 3, abs=1e-4)
    assert said["contradicting_share"].value == 1.0
    assert said["contradicting_share"].n == 1


def test_labels_come_with_their_rows() -> None:
    pairs = (
        [(f"a{n}", "Red") for n in range(8)] + [(f"b{n}", "blue") for n in range(4)] + [(f"c{n}", "green ") for n in range(2)]
    )
    said = found(*pairs)
    assert [said[name].value for name in ("n_classes", "examples_per_class", "fewest_per_class", "imbalance")] == [3, 4, 2, 4.0]
    assert said["majority_share"].interval == wilson(8, 14)


def test_lengths_are_in_words_and_tokens() -> None:
    said = found(("abcd efgh", "one two three"), ("ijkl mnop", "one"))
    assert (said["answer_words"].value, said["longest_answer_words"].value) == (2, 3)
    assert said["dataset_tokens"].value == round((9 + 13 + 9 + 3) / 4)


@pytest.mark.parametrize(("hits", "n", "interval"), [(40, 50, (0.67, 0.89)), (0, 20, (0.0, 0.16)), (160, 200, (0.74, 0.85))])
def test_wilson_agrees_with_the_published_values(hits: int, n: int, interval: tuple[float, float]) -> None:
    assert wilson(hits, n) == pytest.approx(interval, abs=0.006)
