"""All rules, in the order in which their reasons are told at equal weight. A new one is a function and a row here."""

from __future__ import annotations

from advisor.rules import data, facts, limits, manner, never, remarks, risks
from advisor.rules.contract import Never, Remarks, Rule, Warns

RULES: dict[str, Rule] = {
    "rows": data.rows,
    "labels": data.labels,
    "task": data.task,
    "shift": data.shift,
    "corpus": data.corpus,
    "base": data.base,
    "form": manner.form,
    "examples_help": manner.examples_help,
    "new_text": manner.new_text,
    "unknown_facts": facts.unknown_facts,
    "questions_with_documents": facts.questions_with_documents,
    "changing_facts": facts.changing_facts,
    "documents": facts.documents,
    "passages": facts.passages,
    "passages_tell": facts.passages_tell,
    "base_size": limits.base_size,
}

REMARKS: dict[str, Remarks] = {
    "latency": remarks.latency,
    "traffic": remarks.traffic,
    "tenants": remarks.tenants,
    "training_time": remarks.training_time,
    "memory": remarks.memory,
}

NEVER: dict[str, Never] = {
    "little_text": never.little_text,
    "nothing_to_search": never.nothing_to_search,
    "passages_it_never_saw": never.passages_it_never_saw,
    "saturated": never.saturated,
    "volatile": never.volatile,
    "tiny_base": never.tiny_base,
    "few_rows": never.few_rows,
    "few_per_class": never.few_per_class,
    "prompt_room": never.prompt_room,
}

RISKS: dict[str, Warns] = {
    "narrow": risks.narrow,
    "contradictions": risks.contradictions,
    "leakage": risks.leakage,
    "rare_labels": risks.rare_labels,
    "unknown_facts": risks.unknown_facts,
    "missed_passages": risks.missed_passages,
    "small_reader": risks.small_reader,
    "forgetting": risks.forgetting,
}
