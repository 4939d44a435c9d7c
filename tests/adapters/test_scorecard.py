"""How answers are judged, and when an adapted model counts as better."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.conversation import Example, Message
from adapters.errors import InvalidInput
from adapters.evaluation.loss import RowLoss
from adapters.evaluation.metrics import METRICS, exact_match, primary, token_f1
from adapters.evaluation.scorecard import Item, compare, sample, score, wilson
from adapters.prompts import PromptTemplate


def items(right: list[int], nats: float = 1.0) -> list[Item]:
    return [
        Item(line, "yes", "yes" if hit else "no", {"exact_match": float(hit), "token_f1": float(hit)}, RowLoss(nats * 2, 2, 3))
        for line, hit in enumerate(right)
    ]


def test_metrics_forgive_case_and_spacing_only() -> None:
    assert exact_match("  New   York ", "new york") == 1.0
    assert exact_match("New York.", "new york") == 0.0
    assert token_f1("the red house", "red house") == pytest.approx(0.8)


@given(st.text(), st.text())
def test_every_metric_is_a_share_and_full_for_the_answer_itself(answer: str, wanted: str) -> None:
    for rate in METRICS.values():
        assert 0.0 <= rate(answer, wanted) <= 1.0
        assert rate(wanted, wanted) == 1.0 or not wanted.split()


def test_long_answers_are_judged_by_words() -> None:
    assert primary(["short answer"] * 3) == "exact_match"
    assert primary([" ".join("abcdefghij")] * 3) == "token_f1"


def test_wilson_gives_the_published_intervals() -> None:
    assert wilson(40, 50) == pytest.approx((0.67, 0.89), abs=0.005)
    assert wilson(160, 200) == pytest.approx((0.74, 0.85), abs=0.005)
    assert wilson(0, 12)[0] == 0.0


def test_clearly_more_right_answers_are_better() -> None:
    card = compare(items([0] * 20), items([1] * 15 + [0] * 5), held_out=30)
    assert card.better
    assert card.difference.mean == pytest.approx(0.75)
    assert card.difference.interval[0] > 0
    assert (card.n, card.held_out) == (20, 30)


def test_a_tie_is_decided_by_the_loss_and_a_worse_metric_is_not_saved_by_it() -> None:
    tied = [1, 0] * 10
    assert compare(items(tied, 1.0), items(tied, 0.5), held_out=20).better
    assert not compare(items(tied, 1.0), items(tied, 1.0), held_out=20).better
    assert not compare(items([1] * 20, 1.0), items([0] * 20, 0.1), held_out=20).better


def test_a_handful_of_rows_shows_nothing() -> None:
    card = compare(items([0] * 5), items([1] * 5), held_out=5)
    assert not card.better
    assert "at least 6" in card.reason


def test_the_same_answers_give_the_same_card_and_it_is_json() -> None:
    arms = items([0, 1] * 10), items([1, 1] * 10)
    said = compare(*arms, held_out=20, seed=4).to_json()
    assert said == compare(*arms, held_out=20, seed=4).to_json()
    assert json.loads(json.dumps(said))["loss_nats_per_token"]["base"] == 1.0


def test_arms_with_different_rows_are_not_compared() -> None:
    other = [dataclasses.replace(item, line=item.line + 1) for item in items([1, 1])]
    with pytest.raises(InvalidInput, match="same rows"):
        compare(items([1, 1]), other, held_out=2)


def test_the_template_is_put_around_every_question() -> None:
    asked = []

    def completer(conversations):
        asked.extend(conversations)
        return ["Billing"] * len(conversations)

    example = Example((Message("user", "my card"), Message("assistant", "billing")), 3, (1,))
    (item,) = score(completer, [RowLoss(1.0, 1, 1)], [example], PromptTemplate("Name the team."))
    assert asked == [[{"role": "system", "content": "Name the team."}, {"role": "user", "content": "my card"}]]
    assert (item.line, item.answer, item.values["exact_match"]) == (3, "Billing", 1.0)


def test_the_sample_follows_from_content_and_seed() -> None:
    rows = [Example((Message("user", f"q{n}"), Message("assistant", "a")), n, (1,)) for n in range(50)]
    assert sample(rows, 10, seed=1) == sample(rows[::-1], 10, seed=1) != sample(rows, 10, seed=2)
