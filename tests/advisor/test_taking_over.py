"""A decision made from one before it is the same as one made anew, whatever was moved: what is kept may not be out of date."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.tuning.shapes import typical_shape
from advisor import ranking
from advisor.evidence import Evidence, by_name
from advisor.ranking import Decision
from advisor.sensitivity import MOVES, moved
from advisor.stated import Stated
from tests.contracts.test_rules import measurements, situations


def everything(made: Decision) -> tuple[Any, ...]:
    reasons = {method: [str(vote.reason) for vote in votes] for method, votes in made.cast.items()}
    return made.order, made.worth, made.predicted, made.burdens, made.fits, made.points, reasons, set(made.barred)


@given(situations, measurements, st.sampled_from(sorted(MOVES)), st.data())
@settings(max_examples=80, deadline=None)
def test_what_is_taken_over_is_what_would_be_found_anew(
    situation: dict[str, Any], measured: dict[str, Any], name: str, data: st.DataObject
) -> None:
    stated = Stated(**{"gpu_gib": 80.0} | situation)
    facts = None if stated.params_b is None else typical_shape(stated.params_b)
    found = by_name([*stated.evidence(), *(Evidence(one, value, "share", "measured", 64) for one, value in measured.items())])
    before = ranking.decide(ranking.complete(found, facts))
    value = data.draw(st.sampled_from(MOVES[name].stops))
    other = typical_shape(float(value)) if name == "params_b" else facts
    if MOVES[name].costs:
        whole = ranking.complete(moved(found, name, value), other)
        then = ranking.decide(whole, before=before)
    else:
        whole = moved(before.found, name, value)
        then = ranking.decide(whole, before=before, other=frozenset((name, "answers_by_chance", *MOVES[name].drops)))
    assert everything(then) == everything(ranking.decide(whole))
