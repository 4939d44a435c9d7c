"""Rules about what there is to learn from: rows, labels, the kind of task, how far it is from general text, raw text.

Points are set by hand from the findings named; they are priors, not measurements.
"""

from __future__ import annotations

import math

from advisor.candidates import SUPERVISED
from advisor.evidence import Found, number, text
from advisor.rules.contract import BARRED, Vote, bounded, votes

FEWEST_ROWS = 10
FEWEST_PER_CLASS = 2
FEWEST_CORPUS_TOKENS = 1_000_000


def prior(_: Found) -> list[Vote]:
    """What is cheap to try comes first while nothing is known (the order of every vendor's guide)."""
    return [
        Vote("zero_shot", 0.0, "nothing to make: the baseline every other method has to beat"),
        Vote("few_shot", 0.5, "minutes to try, nothing to train"),
        Vote("many_shot", -0.6, "a long prompt with every request"),
        Vote("rag", -0.8, "needs documents that hold the answers, and a search with every request"),
        Vote("head", -0.6, "answers with a label only"),
        Vote("prompt_tuning", -1.8, "learns slowest and depends most on its start"),
        Vote("lora", 0.0, "small weights beside an untouched base"),
        Vote("full", -0.8, "a copy of the base for every adapted model"),
        Vote("continued_pretraining", -2.5, "the most work, and it can cost what the base could do"),
        Vote("rag+lora", -1.2, "two things to make, and trained with passages in its prompts"),
    ]


def rows(found: Found) -> list[Vote]:
    """Fewer than 10 rows do not train (OpenAI's fine-tuning guide); gains from 50 to 100; ~100 is the common minimum and
    1,000 the common wish (Google, Unsloth, LIMA); in-context learning stops gaining near 2,000 rows (Bertsch et al. 2024)."""
    n = number(found, "n_examples")
    if n is None:
        return []
    if n < 1:
        return [Vote(method, BARRED, "no examples to show or to train on") for method in ("few_shot", "many_shot", *SUPERVISED)]
    said = f"{n:,.0f} rows"
    made = votes(f"{said} leave nothing for a longer prompt" if n < 50 else f"{said} to show", many_shot=_many_shot(n))
    made += votes(f"{said}, a handful of which a prompt shows", few_shot=bounded(-0.8 * math.log10(n / 30), -1.6, 0.6))
    if n < FEWEST_ROWS:
        return made + [Vote(method, BARRED, f"{said} are below the {FEWEST_ROWS} that training needs") for method in SUPERVISED]
    made += votes(f"{said} would go unused", zero_shot=-0.7)
    made += votes(f"{said} to train on; 100 is a usual start", lora=_lora(n), rag_lora=0.7 * _lora(n))
    made += votes(f"{said} to train on; worth it from tens of thousands", full=bounded(1.2 * math.log10(n / 3000), -3, 3))
    return made + votes(f"{said} to train on; it wants a thousand", prompt_tuning=bounded(math.log10(n / 1000), -2, 0.8))


def _lora(n: float) -> float:
    return bounded(1.2 * math.log10(n / 100), -1.2, 2.0)


def _many_shot(n: float) -> float:
    return -0.5 if n < 50 else bounded(0.8 * math.log10(n / 50), 0, 0.8) if n <= 2000 else 0.3


def labels(found: Found) -> list[Vote]:
    """What decides a classification is rows per label, not rows: examples in the prompt lead below about 10, tuning
    draws level between 10 and 200 (Bertsch et al. 2024); linear heads lead at 8 (SetFit, Tunstall et al. 2022)."""
    per = number(found, "examples_per_class")
    if per is None or text(found, "task_type") not in (None, "classification"):
        return []
    classes = number(found, "n_classes")
    said = f"{per:,.3g} rows a label" + ("" if classes is None else f", {classes:,.0f} labels")
    if per < FEWEST_PER_CLASS:
        return [Vote(method, BARRED, f"{said}: training needs {FEWEST_PER_CLASS} a label") for method in SUPERVISED]
    if per < 10:
        return votes(f"{said}: too few to tune on, enough to show", few_shot=0.8, many_shot=0.8, head=1.2, lora=-0.6, full=-1.0)
    if per < 40:
        return votes(f"{said}: where tuning draws level with examples in the prompt", many_shot=0.4, head=0.8, lora=0.3)
    made = votes(f"{said}: plenty for a head", head=0.6 if per < 200 else 0.4)
    if per < 200:
        return made + votes(f"{said}: enough for tuning to lead", lora=0.7, full=0.3)
    return made + votes(f"{said}: more than a prompt can hold", many_shot=-0.6, few_shot=-0.6, lora=1.2, full=0.8)


FIXED_FORM = ("extraction", "style", "tool_use", "translation", "code", "summarization", "chat")


def task(found: Found) -> list[Vote]:
    """Missing facts call for retrieval, a fixed way of answering for training (OpenAI's accuracy guide and its kin)."""
    kind = text(found, "task_type")
    if kind == "classification":
        made = votes("a classification: a head is a test of seconds", head=0.5)
        made += votes("a classification: one way of answering, learned from rows", lora=0.2)
        return made + votes("a classification asks for a label, not for facts", rag=-0.8, rag_lora=-0.8)
    if kind in FIXED_FORM:
        return votes(f"{kind}: the answers have a form of their own", lora=0.6, full=0.3, few_shot=0.2, rag=-0.6, rag_lora=0.1)
    if kind in ("question_answering", "qa_open_book"):
        return votes(f"{kind}: questions are asked for facts", rag=0.6, rag_lora=0.4)
    if kind == "domain_lm":
        return votes("domain_lm: the text itself is to be learned", continued_pretraining=1.5)
    return votes(f"{kind}: free text in the manner of the rows", lora=0.3) if kind == "generation" else []


def shift(found: Found) -> list[Vote]:
    """The further from general text, the less prompting gets out of a base and the more training adds (Gururangan et al.
    2020: gains from +0 to +12 with distance; LoRA Land 2024: lift falls with the score before tuning)."""
    s = number(found, "domain_shift")
    if s is None:
        return []
    interval = found["domain_shift"].interval
    said = f"domain shift {s:.2f}" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")
    unfamiliar = votes(
        f"{said}: the further, the less a prompt alone gets", zero_shot=-1.5 * s, few_shot=-0.8 * s, many_shot=-0.3 * s
    )
    return (
        unfamiliar
        + votes(f"{said}: the further, the more training adds", lora=1.0 * s, rag_lora=0.6 * s, full=1.3 * s)
        + votes(f"{said}: the encoder under a head knows general text", head=-0.5 * s)
    )


def corpus(found: Found) -> list[Vote]:
    """Pretraining further pays where a real shift and a large corpus meet (Gururangan et al. 2020); on little raw text it
    can lower the score of the base (Yang et al. 2024, EntiGraph)."""
    tokens, s = number(found, "corpus_tokens"), number(found, "domain_shift")
    if tokens is None:
        return []
    said = f"{tokens:,.0f} tokens of raw text"
    if tokens < FEWEST_CORPUS_TOKENS:
        return votes(f"{said}: below the {FEWEST_CORPUS_TOKENS:,} it takes", continued_pretraining=BARRED)
    points = bounded(1.2 * math.log10(tokens / 1e7), -1.2, 2.5)
    if s is None:
        return votes(said, continued_pretraining=points)
    return votes(f"{said} at a domain shift of {s:.2f}", continued_pretraining=points + 5 * (s - 0.4))


def base(found: Found) -> list[Vote]:
    """A base that already scores well leaves little to tuning: correlation -0.79 between score and lift over 31 tasks
    (LoRA Land, Zhao et al. 2024)."""
    score = number(found, "base_score")
    if score is None:
        return []
    over = score - 0.6
    said = f"the base scores {score:.2f} when only prompted"
    return votes(
        said, zero_shot=bounded(5 * over, -2, 2.5), few_shot=bounded(2 * over, -0.5, 1), lora=bounded(-2.5 * over, -1.2, 0.8),
        full=bounded(-3 * over, -1.5, 0.8), head=bounded(-1.5 * over, -0.8, 0.5), rag_lora=bounded(-2 * over, -1, 0.5),
    )  # fmt: skip
