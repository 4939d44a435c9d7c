"""What must never be advised, and what cannot be carried out: each a rule that bars methods, whatever speaks for them.

That a method's memory exceeds the device is a rule too, but told as `fits`, so that a larger device can be named.
"""

from __future__ import annotations

from adapters.data.dataset import FEWEST_ROWS
from advisor.candidates import INTO_WEIGHTS, METHODS, SHOWING, SUPERVISED, TRAINED
from advisor.evidence import Found, number, text
from advisor.rules.contract import Bar, bars

FEWEST_CORPUS_TOKENS = 1_000_000
FEWEST_PER_CLASS = 2
SMALLEST_FOR_SOFT_PROMPTS_B = 1.0
SATURATED = 0.9
VOLATILE = 0.3
"""Share of answers that are dates, prices or versions, from which facts are taken to change."""
ASKING_FOR_FACTS = ("question_answering", "qa_closed_book")


def little_text(found: Found) -> list[Bar]:
    """Raw text below a million tokens lowers what a base can do sooner than it teaches it (EntiGraph, Yang et al. 2024: 38.2
    after pretraining on a small corpus, 39.5 before; millions to billions in Databricks' guide)."""
    tokens = number(found, "corpus_tokens")
    if tokens is None or tokens >= FEWEST_CORPUS_TOKENS:
        return []
    if tokens == 0:
        return bars(found, ["continued_pretraining"], "there is no raw text to pretrain on", "corpus_tokens")
    says = f"{{corpus_tokens:,.0f}} tokens of raw text: below the {FEWEST_CORPUS_TOKENS:,} it takes"
    return bars(found, ["continued_pretraining"], says)


def nothing_to_search(found: Found) -> list[Bar]:
    """Retrieval puts passages before a question (Lewis et al. 2020); without documents it is the prompt alone."""
    if number(found, "corpus_tokens") != 0 or number(found, "answers_in_documents") is not None:
        return []
    return bars(found, ["rag", "rag+lora"], "there are no documents to search", "corpus_tokens")


def passages_it_never_saw(found: Found) -> list[Bar]:
    """Passages put before a model that was tuned without any lower its scores: 61.1 to 42.6 and 86.6 to 60.3 (RAFT, Zhang et
    al. 2024, arXiv 2403.10131); tuned with passages among distractors, 74.0 and 86.9."""
    if not number(found, "tuned_without_passages"):
        return []
    says = "the model was tuned without passages, and passages would now lower its scores; rag+lora tunes with them"
    return bars(found, ["rag"], says, "tuned_without_passages")


def saturated(found: Found) -> list[Bar]:
    """Where the right passage already brings the right answer, the rest is retrieval's to mend, not training's (LoRA Land,
    Zhao et al. 2024: tuning beat prompting on 3 of 8 tasks that were at 0.90 or above)."""
    oracle = number(found, "oracle_score")
    if oracle is None or oracle < SATURATED:
        return []
    return bars(found, TRAINED, "with the right passage the base scores {oracle_score:.2f}: nothing is left to training")


def volatile(found: Found) -> list[Bar]:
    """Facts in weights are as old as the training (all vendors' guides); after it, RAG was ahead by 19 to 31 points (Ovadia et
    al. 2024)."""
    if number(found, "needs_new_knowledge") == 0:
        return []
    if number(found, "knowledge_changes"):
        return bars(found, INTO_WEIGHTS, "the facts change, and weights do not change with them", "knowledge_changes")
    share = number(found, "volatile_share")
    if share is None or share < VOLATILE or text(found, "task_type") not in ASKING_FOR_FACTS or _stays_as_it_is(found):
        return []
    return bars(found, INTO_WEIGHTS, "{volatile_share:.0%} of the answers are dates, prices or versions, which change")


def _stays_as_it_is(found: Found) -> bool:
    return number(found, "knowledge_changes") == 0


def tiny_base(found: Found) -> list[Bar]:
    """Soft prompts come level with tuning at about 10 billion parameters, and gain little below one (Lester et al. 2021)."""
    size = number(found, "params_b")
    if size is None or size >= SMALLEST_FOR_SOFT_PROMPTS_B:
        return []
    return bars(found, ["prompt_tuning"], "a base of {params_b:.3g} billion parameters is too small for a soft prompt")


def few_rows(found: Found) -> list[Bar]:
    """Fewer than 10 rows do not train (OpenAI's fine-tuning guide); none cannot be shown either."""
    n = number(found, "n_examples")
    if n is None or n >= FEWEST_ROWS:
        return []
    made = bars(found, SUPERVISED, f"{{n_examples:,.0f}} rows are below the {FEWEST_ROWS} that training needs")
    return made + (bars(found, SHOWING, "{n_examples:,.0f} rows: no examples to show") if n < 1 else [])


def few_per_class(found: Found) -> list[Bar]:
    """With one row a label there is nothing to learn from and nothing to check it on (SetFit, Tunstall et al. 2022, begins at
    2 and has a spread of up to 12 points at 8)."""
    per = number(found, "examples_per_class")
    if per is None or per >= FEWEST_PER_CLASS or text(found, "task_type") not in (None, "classification"):
        return []
    return bars(found, SUPERVISED, f"{{examples_per_class:.3g}} rows a label: training needs {FEWEST_PER_CLASS}")


def prompt_room(found: Found) -> list[Bar]:
    """A method whose prompt is longer than allowed, or than the base can read, cannot be used."""
    limits = {name: room for name in ("max_prompt_tokens", "context_tokens") if (room := number(found, name)) is not None}
    if not limits:
        return []
    least = min(limits, key=lambda name: limits[name])
    made = []
    for method in METHODS:
        extra = number(found, f"prompt_tokens.{method}")
        if extra is not None and extra > limits[least]:
            says = f"needs {{prompt_tokens.{method}:,.0f}} prompt tokens, and {{{least}:,.0f}} are possible"
            made += bars(found, [method], says)
    return made
