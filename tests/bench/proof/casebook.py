"""Published comparisons beside what the advisor says of them: the family of the first of its methods that is like one compared.

A case is a line of JSON: what was known (kind of task, rows, size of the base, shift, whether facts were needed), which methods
were compared and which family won. Cases of the paper at hand are left out of the figures that are used for it. A case that
ended level, or whose winner is none of the advisor's families, says nothing here. Knows no outcome table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor import ranking
from advisor.evidence import by_name
from advisor.predicting import figures, fitting
from advisor.predicting.calibration import USUAL_DRIFT
from advisor.stated import TASK_TYPES, Stated
from tests.bench import advisor_published

FAMILIES = {
    "zero_shot": "prompting", "few_shot": "prompting", "knn_few_shot": "prompting", "many_shot": "prompting",
    "rag": "retrieval", "head": "head", "prompt_tuning": "some weights", "lora": "some weights", "full": "all weights",
    "continued_pretraining": "pretraining", "rag+lora": "retrieval and training",
}  # fmt: skip
WON = {
    "prompting_or_bigger_model": "prompting", "rag": "retrieval", "rag_plus_training": "retrieval and training",
    "peft": "some weights", "full_ft_or_data_recipe": "all weights", "continued_or_domain_pretraining": "pretraining",
    "head_setfit_classical": "head",
}  # fmt: skip
COMPARED = (
    (("rag+", "raft"), "rag+lora"), (("rag", "larger_api_rag"), "rag"), (("continued", "domain_pre"), "continued_pretraining"),
    (("zero", "larger_api"), "zero_shot"), (("few", "prompt_opt"), "few_shot"), (("many",), "many_shot"),
    (("retrieval_icl",), "knn_few_shot"), (("prefix", "prompt_tuning"), "prompt_tuning"),
    (("lora", "qlora", "ia3", "adapters", "bitfit", "peft"), "lora"), (("full", "prompt-based", "lp_ft"), "full"),
    (("setfit", "linear_head", "linear-probe"), "head"),
)  # fmt: skip
"""By how a compared method's name begins, the method of ours that is most like it; the first that fits counts."""
SHIFT = {"none": 0.0, "low": 0.15, "low-medium": 0.3, "medium": 0.45, "medium-high": 0.6, "high": 0.75, "very high": 0.9}
TEXTS = {"rag": 10**7, "rag+lora": 10**7, "continued_pretraining": 10**9}
"""Tokens of texts that must have been there where such a method was compared, where the case does not count them."""
ROOMY_GIB = 10_000.0
"""Memory is no part of these comparisons."""


@dataclass(frozen=True, slots=True)
class Agreed:
    id: str
    paper: str
    kept: str
    """How the figures were got: read, computed or recalled."""
    wanted: str
    got: str

    @property
    def is_right(self) -> bool:
        return self.wanted == self.got

    @property
    def is_close(self) -> bool:
        """Some weights and all of them count as one: on sets of this size they end level (Schulman et al., 2025)."""
        return self.is_right or {self.wanted, self.got} == {"some weights", "all weights"}


def agreements(casebook: Path, facts: Path | None) -> Iterator[Agreed]:
    """`facts`: the folder that the published figures are made of (`advisor_published`), so that each paper can be left out of
    them; without it the shipped ones are used."""
    cases = [json.loads(line) for line in casebook.read_text().splitlines()]
    for paper in sorted({case["paper"] for case in cases}):
        made = None if facts is None else _without(paper, cases, facts)
        for case in cases:
            if case["paper"] != paper or case["winner_family"] not in WON:
                continue
            wanted = WON[case["winner_family"]]
            allowed = {ours for method in case["methods_compared"] if (ours := _ours(method))}
            if wanted not in {FAMILIES[method] for method in allowed}:
                allowed |= {method for method, name in FAMILIES.items() if name == wanted}
            order = ranking.decide(ranking.complete(by_name(_stated(case).evidence()), None), figures=made).order
            got = next((FAMILIES[method] for method in order if method in allowed), "none")
            yield Agreed(case["id"], paper, case["figures"], wanted, got)


def _without(paper: str, cases: Sequence[dict[str, Any]], facts: Path) -> ranking.Figures:
    others = [case for case in cases if case["paper"] != paper]
    settings = advisor_published.published_settings(facts, others, without_cells="2405.00732" in paper)
    raw = fitting.fit(settings, "published results, one paper left out")
    raw |= {"shared": 0.5, "drift": USUAL_DRIFT, "temperature": 1.0}
    for arm in raw["arms"].values():
        arm["inflation"] = advisor_published.FARTHER * arm["inflation"]
    return ranking.Figures(figures.published(), figures.outcomes_from(raw))


def _stated(case: dict[str, Any]) -> Stated:
    rows, kind = case["n_examples"], case["task_type"]
    compared = {_ours(method) for method in case["methods_compared"]}
    texts = max((size for name, size in TEXTS.items() if name in compared), default=None)
    counted: dict[str, Any] = {} if texts is None else {"corpus_tokens": texts}
    if rows is not None:
        counted["n_examples" if case["n_unit"] == "examples" else "corpus_tokens"] = int(rows)
    known = {
        "params_b": case["params_b"], "domain_shift": SHIFT.get(case["domain_shift"]),
        "needs_new_knowledge": None if case["needs_new_knowledge"] is None else float(case["needs_new_knowledge"]),
        "knowledge_changes": case["knowledge_volatile"],
    }  # fmt: skip
    given = {name: value for name, value in known.items() if value is not None}
    return Stated(task_type=kind if kind in TASK_TYPES else "generation", gpu_gib=ROOMY_GIB, **counted, **given)


def _ours(method: str) -> str | None:
    return next((name for starts, name in COMPARED if method.startswith(starts)), None)
