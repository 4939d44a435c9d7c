"""All rules, in the order in which their reasons are told at equal weight. A new one is a function and a row here."""

from __future__ import annotations

from advisor.rules import data, facts, limits
from advisor.rules.contract import Rule

RULES: dict[str, Rule] = {
    "prior": data.prior,
    "rows": data.rows,
    "labels": data.labels,
    "task": data.task,
    "shift": data.shift,
    "corpus": data.corpus,
    "base": data.base,
    "unknown_facts": facts.unknown_facts,
    "changing_facts": facts.changing_facts,
    "documents": facts.documents,
    "base_size": limits.base_size,
    "latency": limits.latency,
    "prompt_room": limits.prompt_room,
    "traffic": limits.traffic,
    "tenants": limits.tenants,
    "training_time": limits.training_time,
    "memory": limits.memory,
}
