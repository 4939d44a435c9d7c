"""Decides once what a bake-off plays: the arms by an advice, the rungs of rows, and how long answers may be.

Kept in its folder, so that one that goes on after a kill is the same one. Loads the base's tokenizer and no weights.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.conversation import Example
from adapters.evaluation.metrics import primary
from adapters.registry import write_whole
from advisor import ranking
from advisor.advice import advise
from advisor.bakeoff.arms import arms_of
from advisor.bakeoff.contract import Arm, Plan
from advisor.bakeoff.playing import rungs
from advisor.candidates import CANDIDATES
from advisor.evidence import Evidence, by_name
from advisor.predicting.contract import Predicted
from gateway.bakeoff.request import Request, frozen_of, rows_of

PREPARED = "prepared.json"
LONGEST_ANSWER_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Prepared:
    arms: tuple[Arm, ...]
    plan: Plan
    metric: str
    answer_tokens: int
    """The most that an answer may have; as long as the longest of the rows, and a few to end with."""


def prepared(folder: Path, request: Request) -> Prepared:
    """Read where it was decided before."""
    file = folder / PREPARED
    if not file.is_file():
        write_whole(file, json.dumps(_to_json(_decide(folder, request))))
    return _from_json(json.loads(file.read_bytes()))


def measured(raw: Sequence[dict[str, Any]]) -> list[Evidence]:
    """Evidence as an advice shows it, without what it computed of each method, or knew of one from an earlier bake-off."""
    made = []
    for one in raw:
        if one["value"] is not None and one["name"].partition(".")[2] not in CANDIDATES:
            interval = one["interval"] and (one["interval"][0], one["interval"][1])
            made.append(Evidence(one["name"], one["value"], one["unit"], one["how"], one["n"], interval))
    return made


def _decide(folder: Path, request: Request) -> Prepared:
    rows, frozen, facts = rows_of(folder).examples, frozen_of(folder).examples, bases.facts(request.base_folder)
    evidence = measured(request.evidence) if request.evidence else _counted(rows)
    advice = advise(evidence, facts=facts, profile=request.profile)
    found = ranking.complete(by_name(measured([dataclasses.asdict(one) for one in advice.evidence])), facts)
    arms = arms_of(advice, len(frozen), methods=request.methods, has_documents=bool(request.documents))
    plan = Plan(len(rows), rungs(len(rows)), request.budget_s, profile=request.profile, found=found)
    longest = _longest_answer(request.base_folder, [*rows, *frozen])
    return Prepared(tuple(arms), plan, primary([row.answer for row in frozen]), longest)


def _counted(rows: Sequence[Example]) -> list[Evidence]:
    from advisor.profile import profile

    return profile(rows)


def _longest_answer(base_folder: Path, rows: Sequence[Example]) -> int:
    """In tokens, with a few to end with."""
    from tokenizers import Tokenizer

    answers = [row.answer for row in rows]
    if (base_folder / "tokenizer.json").is_file():
        read = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
        sizes = [len(one.ids) for one in read.encode_batch(answers, add_special_tokens=False)]
    else:
        sizes = [len(ids) for ids in bases.open_tokenizer(base_folder)(answers, add_special_tokens=False)["input_ids"]]
    return min(LONGEST_ANSWER_TOKENS, max(sizes) + 4)


def _to_json(made: Prepared) -> dict[str, Any]:
    plan = dataclasses.asdict(dataclasses.replace(made.plan, found={}))
    found = [dataclasses.asdict(one) for one in made.plan.found.values()]
    arms = [dataclasses.asdict(arm) for arm in made.arms]
    return {"arms": arms, "plan": plan, "found": found, "metric": made.metric, "answer_tokens": made.answer_tokens}


def _from_json(raw: dict[str, Any]) -> Prepared:
    arms = [Arm(**one | {"predicted": one["predicted"] and Predicted(**one["predicted"])}) for one in raw["arms"]]
    found = [Evidence(**one | {"interval": one["interval"] and tuple(one["interval"])}) for one in raw["found"]]
    plan = Plan(**raw["plan"] | {"rungs": tuple(raw["plan"]["rungs"]), "found": by_name(found)})
    return Prepared(tuple(arms), plan, raw["metric"], raw["answer_tokens"])
