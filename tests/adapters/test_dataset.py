"""Fingerprints and splits follow from what the rows say and the seed, and no prompt is on two sides."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.conversation import Example, Message
from adapters.data.dataset import dataset, split
from adapters.errors import InvalidInput


def example(question: str, answer: str, line: int = 1) -> Example:
    return Example((Message("user", question), Message("assistant", answer)), line, (1,))


questions = st.sampled_from([f"question {number}" for number in range(20)])
datasets = st.lists(st.builds(example, questions, st.sampled_from("abc")), min_size=10, max_size=80).filter(
    lambda rows: len({row.prompt_key for row in rows}) >= 3
)


@given(datasets, st.integers(0, 1000))
def test_every_row_is_in_one_part_and_no_prompt_in_two(rows: list[Example], seed: int) -> None:
    parts = split(dataset(rows), seed=seed)
    assert Counter(parts.train + parts.validation + parts.held_out) == Counter(rows)
    keys = [{row.prompt_key for row in part} for part in (parts.train, parts.validation, parts.held_out)]
    assert all(keys)
    assert sum(map(len, keys)) == len(set.union(*keys))


@given(datasets, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_order_changes_neither_fingerprint_nor_parts(rows: list[Example], seed: int, dice: random.Random) -> None:
    shuffled = dice.sample(rows, len(rows))
    assert dataset(rows).fingerprint == dataset(shuffled).fingerprint
    assert split(dataset(rows), seed=seed) == split(dataset(shuffled), seed=seed)


def test_parts_have_the_asked_sizes_where_all_prompts_differ() -> None:
    parts = split(dataset([example(f"q{number}", "a") for number in range(240)]), seed=1)
    assert (len(parts.train), len(parts.validation), len(parts.held_out)) == (168, 24, 48)


def test_another_seed_gives_other_parts() -> None:
    data = dataset([example(f"q{number}", "a") for number in range(40)])
    assert split(data, seed=1).held_out != split(data, seed=2).held_out


def test_the_fingerprint_sees_every_change_of_content() -> None:
    rows = [example("q", "a"), example("r", "b")]
    assert dataset(rows).fingerprint != dataset([example("q", "a"), example("r", "c")]).fingerprint
    assert dataset(rows).fingerprint != dataset([*rows, rows[0]]).fingerprint


def test_prompts_that_differ_in_spacing_and_case_only_stay_together() -> None:
    rows = [example(f"q{number}", "a") for number in range(12)] + [example(f" Q{number} ", "b") for number in range(12)]
    parts = split(dataset(rows), seed=3)
    assert not {row.prompt_key for row in parts.train} & {row.prompt_key for row in parts.held_out}


def test_too_few_rows_or_prompts_name_the_minimum() -> None:
    with pytest.raises(InvalidInput, match="at least 10 rows and 3 prompts"):
        split(dataset([example(f"q{number}", "a") for number in range(9)]), seed=0)
    with pytest.raises(InvalidInput, match="2 different prompts"):
        split(dataset([example(f"q{number % 2}", "a") for number in range(30)]), seed=0)
