"""Selectors: the same question always gets the same shots, never itself, never more than the budget, the nearest last."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.prompting.pool import Pool, asked_key, open_pool, pool_digest, write_pool
from adapters.prompting.selectors.choosing import choose
from adapters.prompting.selectors.contract import drawn
from adapters.prompting.selectors.table import SELECTORS
from adapters.prompts import Selection, Shot

WORDS = ("refund", "parcel", "login", "steam", "grinder", "card", "voucher", "filter")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
SHOTS = st.lists(st.builds(Shot, TEXTS, st.sampled_from(("billing", "shipping", "repair"))), min_size=1, max_size=12)


def encoded(texts: list[str]) -> np.ndarray:
    """A bag of the words, of length 1: enough of an encoder to know what is nearest."""
    counts = np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=np.float32) + 1e-3
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def pool_of(*shots: tuple[str, str] | Shot) -> Pool:
    rows = [shot if isinstance(shot, Shot) else Shot(*shot) for shot in shots]
    return Pool(rows, encoded([row.user for row in rows]))


def chosen(pool: Pool, strategy: str, question: str, k: int = 3, **more) -> list[str]:
    shots = choose(pool, Selection(strategy, k, "", **more), question, encoded([question])[0])
    return [shot.user for shot in shots]


@pytest.mark.parametrize("strategy", SELECTORS)
@given(rows=SHOTS, question=TEXTS, k=st.integers(0, 14), seed=st.integers(0, 5), budget=st.none() | st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_the_shots_are_rows_of_the_pool_within_bounds_and_always_the_same(
    strategy: str, rows: list[Shot], question: str, k: int, seed: int, budget: int | None
) -> None:
    pool = pool_of(*rows)
    selection = Selection(strategy, k, "", seed, budget)
    shots = choose(pool, selection, question, encoded([question])[0])
    again = choose(pool_of(*rows), selection, question, encoded([question])[0])
    assert shots == again
    assert len(shots) <= k
    left = list(rows)
    for shot in shots:
        left.remove(shot)  # raises where a row is shown twice, or was never there
        assert asked_key(shot.user) != asked_key(question)
    if budget is not None:
        assert sum(pool.tokens[rows.index(shot)] for shot in shots) <= budget
    elif k:
        others = [row for row in rows if asked_key(row.user) != asked_key(question)]
        assert len(shots) == min(k, len(others)), "a selector fills what it may fill"


@pytest.mark.parametrize("strategy", SELECTORS)
def test_the_asked_row_is_kept_out_whatever_its_spacing_case_and_unicode_form(strategy: str) -> None:
    question = "Café  refund\nSTRASSE"
    pool = pool_of((unicodedata.normalize("NFD", "café refund straße "), "leak"), ("parcel", "shipping"))
    assert chosen(pool, strategy, question) == ["parcel"]


def test_fixed_shows_the_first_rows_in_their_order() -> None:
    pool = pool_of(("refund", "billing"), ("parcel", "shipping"), ("steam", "repair"))
    assert chosen(pool, "fixed", "login", k=2) == ["refund", "parcel"]


def test_random_follows_the_seed_and_not_the_question() -> None:
    pool = pool_of(*((f"ticket {number}", "billing") for number in range(50)))
    first = chosen(pool, "random", "login", k=4, seed=1)
    assert chosen(pool, "random", "something else", k=4, seed=1) == first
    assert chosen(pool, "random", "login", k=4, seed=2) != first


@given(rows=st.integers(0, 60), seed=st.integers())
def test_a_draw_to_the_end_meets_every_row_once(rows: int, seed: int) -> None:
    assert sorted(drawn(rows, seed)) == list(range(rows))


@given(seed=st.integers(0, 50))
def test_balanced_shows_every_label_as_often_as_the_rows_allow(seed: int) -> None:
    labels = ["billing"] * 20 + ["repair"] * 3 + ["Repair "] + ["advice"] * 2
    pool = pool_of(*((f"ticket {number}", label) for number, label in enumerate(labels)))
    shots = choose(pool, Selection("balanced", 8, "", seed), "login")
    said = [shot.assistant.strip().lower() for shot in shots]
    assert (said.count("advice"), said.count("repair"), said.count("billing")) == (2, 3, 3)


def test_knn_shows_the_nearest_last() -> None:
    pool = pool_of(
        ("steam grinder", "repair"), ("refund card", "billing"), ("refund card voucher", "billing"), ("login", "account")
    )
    assert chosen(pool, "knn", "refund card refund", k=2) == ["refund card voucher", "refund card"]


def test_mmr_passes_over_what_says_the_same_again() -> None:
    pool = pool_of(("refund card", "1"), ("card refund", "2"), ("refund voucher", "3"), ("steam", "4"))
    assert chosen(pool, "knn", "refund refund card", k=2) == ["card refund", "refund card"]
    assert chosen(pool, "mmr", "refund refund card", k=2)[-1] == "refund card"
    assert "card refund" not in chosen(pool, "mmr", "refund refund card", k=2)


def test_bm25_shows_what_shares_the_rarest_words_last_and_fills_up_with_the_rest() -> None:
    pool = pool_of(("login card", "1"), ("E1234 steam", "2"), ("card voucher", "3"), ("card parcel", "4"))
    assert chosen(pool, "bm25", "the card says e1234", k=2) == ["login card", "E1234 steam"]
    assert chosen(pool, "bm25", "nothing in common", k=2) == ["E1234 steam", "login card"]


def test_a_budget_drops_what_suits_least_and_passes_over_what_could_never_fit() -> None:
    near, nearer, far, endless = "refund card", "refund refund card", "steam", "refund refund " + "card " * 200
    pool = pool_of((far, "1"), (near, "2"), (nearer, "3"), (endless, "4"))
    cost = {row.user: int(tokens) for row, tokens in zip(pool.rows, pool.tokens, strict=True)}
    question = "refund refund refund card"
    assert chosen(pool, "knn", question, k=4, max_tokens=cost[near] + cost[nearer]) == [near, nearer]
    assert chosen(pool, "knn", question, k=4, max_tokens=cost[nearer]) == [nearer]
    assert chosen(pool, "knn", question, k=4, max_tokens=3) == []


def test_the_budget_counts_as_the_pool_is_told_to() -> None:
    rows = [Shot("refund", "billing"), Shot("parcel", "shipping")]
    pool = Pool(rows, count=lambda text: 100)
    assert choose(pool, Selection("fixed", 2, "", max_tokens=208), "login") == rows[:1]


@pytest.mark.parametrize(
    ("strategy", "vector", "words"),
    [
        ("kn", None, "no selector 'kn'; did you mean 'knn'"),
        ("zebra", None, "known: fixed, random"),
        ("knn", None, "needs the question's vector"),
        ("mmr", np.ones(3, dtype=np.float32), r"shape \(8,\) and got one of shape \(3,\)"),
    ],
)
def test_what_cannot_be_chosen_by_is_said(strategy: str, vector: np.ndarray | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        choose(pool_of(("refund", "billing")), Selection(strategy, 1, ""), "login", vector)


def test_a_pool_without_vectors_cannot_be_asked_for_the_nearest() -> None:
    with pytest.raises(InvalidInput, match="'knn' needs vectors, and the pool has none"):
        choose(Pool([Shot("refund", "billing")]), Selection("knn", 1, ""), "login", np.ones(8, dtype=np.float32))


def test_a_pool_comes_back_from_disk_as_it_was_written(tmp_path: Path) -> None:
    rows = [Shot("Grüße,\n\u2028 Café", "a"), Shot("\ud800 lone", "b"), Shot("", "c")]
    digest = write_pool(tmp_path / "pool", rows, lambda texts: encoded(list(texts)), encoder="bag")
    pool = open_pool(tmp_path / "pool")
    assert list(pool.rows) == rows
    assert pool.encoder == "bag"
    assert np.array_equal(pool.vectors, encoded([row.user for row in rows]))
    assert digest == pool_digest(rows)


def test_a_pool_is_never_changed_but_may_get_its_vectors_later(tmp_path: Path) -> None:
    rows = [Shot("refund", "billing")]
    folder = tmp_path / "pool"
    write_pool(folder, rows)
    assert open_pool(folder).vectors is None
    write_pool(folder, rows, lambda texts: encoded(list(texts)), encoder="bag")
    assert open_pool(folder).vectors is not None
    write_pool(folder, rows)
    assert open_pool(folder).encoder == "bag", "writing again without an encoder takes nothing away"
    with pytest.raises(Conflict, match="never changed"):
        write_pool(folder, [*rows, Shot("more", "x")])
    assert [entry.name for entry in tmp_path.iterdir()] == ["pool"]


def test_what_is_no_pool_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no pool"):
        open_pool(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="at least one row"):
        write_pool(tmp_path / "pool", [])
    write_pool(tmp_path / "pool", [Shot("refund", "billing")])
    (tmp_path / "pool" / "rows.jsonl").write_text('{"user": "ref')
    with pytest.raises(InvalidInput, match="damaged"):
        open_pool(tmp_path / "pool")
