"""The body of POST /v1/graft/advice: a file that was uploaded, plain numbers, or both. Meanings: advisor/stated.py."""

from __future__ import annotations

import msgspec

from advisor.utility import DEFAULT


class AdviceRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    file_id: str | None = None
    """Of a file uploaded with purpose fine-tune; its rows are looked at and measured."""
    base: str | None = None
    """A base of this gateway. Default: the first."""
    profile: str = DEFAULT
    """What counts: quality, cost or latency."""

    n_examples: int | None = None
    n_classes: int | None = None
    examples_per_class: float | None = None
    task_type: str | None = None
    domain_shift: float | None = None
    needs_new_knowledge: bool | float | None = None
    knowledge_changes: bool | None = None
    tuned_without_passages: bool | None = None
    corpus_tokens: int | None = None
    base_score: float | None = None
    params_b: float | None = None
    gpu: str | None = None
    gpu_gib: float | None = None
    train_tflops: float | None = None
    tokens_per_example: float | None = None
    max_prompt_tokens: int | None = None
    latency_budget_ms: float | None = None
    queries_per_day: float | None = None
    tenants: int | None = None
    price_per_hour: float | None = None
    watts: float | None = None
    labels_per_hour: float | None = None
