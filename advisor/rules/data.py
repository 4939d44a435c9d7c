"""Rules about what there is to learn from: rows, labels, the kind of task, how far it is from general text, raw text.

Points are set by hand from the findings named; they are priors, not measurements.
"""

from __future__ import annotations

import math

from advisor.evidence import Found, number, text
from advisor.reason import because
from advisor.rules.contract import Vote, bounded, votes

LEVEL_PER_CLASS = (10, 40, 200)
"""Rows a label at which a classification changes its character (Bertsch et al., 2024)."""


def rows(found: Found) -> list[Vote]:
    """Gains from 50 to 100 rows (OpenAI's fine-tuning guide); ~100 is the common minimum and 1,000 the common wish (Google,
    Unsloth, LIMA); LoRA and full tuning are level at such sizes (Schulman et al. 2025); in-context learning stops gaining near
    2,000 rows, and shots nearest to the question gain from all of them (Bertsch et al. 2024)."""
    n = number(found, "n_examples")
    if n is None:
        return []
    held = max(1.0, n)
    made = votes(because(found, "{n_examples:,.0f} rows to show"), many_shot=bounded(0.8 * math.log10(held / 50), -0.6, 0.8))
    made += votes(
        because(found, "{n_examples:,.0f} rows to choose the nearest from"),
        knn_few_shot=bounded(0.25 * math.log10(held / 30), -0.4, 0.6),
    )
    tuned = bounded(1.2 * math.log10(held / 50), -1.8, 2.2)
    made += votes(because(found, "{n_examples:,.0f} rows to train on; 100 is a usual start"), lora=tuned, rag_lora=0.7 * tuned)
    made += votes(
        because(found, "{n_examples:,.0f} rows to train on; worth it from tens of thousands"),
        full=bounded(1.2 * math.log10(held / 300), -2.5, 2.6),
    )
    reason = because(found, "{n_examples:,.0f} rows to train on; it wants a thousand")
    return made + votes(reason, prompt_tuning=bounded(math.log10(held / 1000), -2, 0.8))


def labels(found: Found) -> list[Vote]:
    """What decides a classification is rows per label, not rows: examples in the prompt lead below about 10, tuning
    draws level between 10 and 200 (Bertsch et al. 2024); linear heads lead at 8 (SetFit, Tunstall et al. 2022)."""
    per = number(found, "examples_per_class")
    if per is None or text(found, "task_type") not in (None, "classification"):
        return []
    said = "{examples_per_class:,.3g} rows a label" + (", {n_classes:,.0f} labels" if number(found, "n_classes") else "")
    few, level, many = LEVEL_PER_CLASS
    if per < few:
        reason = because(found, f"{said}: too few to tune on, enough to show")
        return votes(reason, few_shot=0.6, knn_few_shot=1.0, many_shot=0.8, head=1.2, lora=-0.6, full=-1.0)
    if per < level:
        reason = because(found, f"{said}: where tuning draws level with examples in the prompt")
        return votes(reason, few_shot=0.2, knn_few_shot=0.8, many_shot=0.6, head=1.2, lora=0.3)
    made = votes(because(found, f"{said}: plenty for a head"), head=1.2)
    made += votes(because(found, f"{said}: near ones show most of what there is to learn"), knn_few_shot=0.8)
    if per < many:
        return made + votes(because(found, f"{said}: enough for tuning to lead"), lora=0.7, full=0.3)
    return made + votes(because(found, f"{said}: more than a prompt can hold"), lora=1.2, full=0.8)


FIXED_FORM = ("extraction", "style", "tool_use", "translation", "code", "summarization", "chat")


def task(found: Found) -> list[Vote]:
    """Missing facts call for retrieval, a fixed way of answering for training (OpenAI's accuracy guide and its kin); where
    both meet, training to read passages gained 14 to 47 points over passages alone (RAFT, Zhang et al. 2024)."""
    kind = text(found, "task_type")
    if kind is None:
        return []
    if kind == "classification":
        made = votes(because(found, "a {task_type}: a head reads labels off an encoder"), head=0.5)
        made += votes(because(found, "a {task_type}: one way of answering, learned from rows"), lora=0.2)
        if number(found, "examples_per_class") is None:
            # in 15 of 20 comparisons at 64 to 2,048 rows and 6 to 151 labels, shots beat tuning (Bertsch et al. 2024)
            made += votes(because(found, "a {task_type} of labels not counted: near examples mostly lead"), knn_few_shot=0.7)
        return made + votes(because(found, "a {task_type} asks for a label, not for facts"), rag=-0.8, rag_lora=-0.8)
    if kind in FIXED_FORM:
        reason = because(found, "{task_type}: the answers have a form of their own")
        read = 1.4 if kind == "tool_use" else -0.6
        return votes(reason, lora=0.6, full=0.3, few_shot=0.2, knn_few_shot=0.2, rag=-0.6, rag_lora=read)
    if kind == "qa_open_book":
        return votes(because(found, "{task_type}: reading passages is what is asked for, and learned"), rag=0.6, rag_lora=1.0)
    if kind in ("question_answering", "qa_closed_book"):
        return votes(because(found, "{task_type}: questions are asked for facts"), rag=0.6, rag_lora=0.4)
    if kind == "domain_lm":
        return votes(because(found, "{task_type}: the text itself is to be learned"), continued_pretraining=1.5)
    return votes(because(found, "{task_type}: free text in the manner of the rows"), lora=0.3) if kind == "generation" else []


def shift(found: Found) -> list[Vote]:
    """The further from general text, the less prompting gets out of a base and the more training adds (Gururangan et al.
    2020: gains from +0 to +12 with distance; LoRA Land 2024: lift falls with the score before tuning)."""
    s = number(found, "domain_shift")
    if s is None:
        return []
    said = "domain shift {domain_shift:.2f}: "
    less = because(found, said + "the further, the less a prompt alone gets")
    more = because(found, said + "the further, the more training adds")
    general = because(found, said + "the encoder under a head knows general text")
    return [
        *votes(less, zero_shot=-1.5 * s, few_shot=-0.8 * s, knn_few_shot=-0.5 * s, many_shot=-0.3 * s),
        *votes(more, lora=1.0 * s, rag_lora=0.6 * s, full=1.3 * s),
        *votes(general, head=-0.5 * s),
    ]


def corpus(found: Found) -> list[Vote]:
    """Pretraining further pays where a real shift and a large corpus meet (Gururangan et al. 2020); on little raw text it
    can lower the score of the base (Yang et al. 2024, EntiGraph)."""
    tokens, s = number(found, "corpus_tokens"), number(found, "domain_shift")
    if not tokens:
        return []
    points = bounded(1.2 * math.log10(max(1.0, tokens) / 1e7), -3.0, 2.5)
    if s is None:
        return votes(because(found, "{corpus_tokens:,.0f} tokens of raw text"), continued_pretraining=points)
    reason = because(found, "{corpus_tokens:,.0f} tokens of raw text at a domain shift of {domain_shift:.2f}")
    return votes(reason, continued_pretraining=points + 5 * (s - 0.4))


def base(found: Found) -> list[Vote]:
    """A base that already scores well leaves little to tuning: correlation -0.79 between score and lift over 31 tasks
    (LoRA Land, Zhao et al. 2024)."""
    score = number(found, "base_score")
    if score is None:
        return []
    over = score - 0.6
    prompted = bounded(2 * over, -0.5, 1)
    return votes(
        because(found, "the base scores {base_score:.2f} when only prompted"),
        few_shot=prompted, knn_few_shot=prompted, many_shot=prompted, lora=bounded(-2.5 * over, -1.2, 0.8),
        full=bounded(-3 * over, -1.5, 0.8), head=bounded(-1.5 * over, -0.8, 0.5), rag_lora=bounded(-2 * over, -1, 0.5),
    )  # fmt: skip
