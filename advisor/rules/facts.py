"""Rules about facts: whether answers need what the base cannot know, whether that changes, whether documents hold it."""

from __future__ import annotations

from advisor.evidence import Found, number, text
from advisor.rules.contract import Vote, votes


def unknown_facts(found: Found) -> list[Vote]:
    """On facts newer than the base, passages in the prompt beat the best tuning by 19 to 31 points (Ovadia et al. 2024,
    EMNLP); training on facts the base does not know makes it worse at those it knows (Gekhman et al. 2024)."""
    need = number(found, "needs_new_knowledge")
    if need is None:
        return []
    said = f"{need:.0%} of the answers need facts the base cannot know"
    return [
        *votes(said, rag=4 * need - 1.5, rag_lora=3.2 * need - 1.5),
        *votes(said, zero_shot=-1.2 * need, few_shot=-1.2 * need, many_shot=-0.8 * need, lora=-1.2 * need, head=-0.8 * need,
               prompt_tuning=-1.2 * need, full=-1.0 * need, continued_pretraining=need - 0.5),
    ]  # fmt: skip


def changing_facts(found: Found) -> list[Vote]:
    """Documents are replaced in a second, weights are trained again (the one point all vendors' guides share)."""
    changes = number(found, "knowledge_changes")
    if not changes:
        return []
    said = "the facts change while the model is in use"
    return votes(said, rag=1.5, rag_lora=0.8, lora=-0.8, prompt_tuning=-0.5, full=-1.2, continued_pretraining=-2.0)


def documents(found: Found) -> list[Vote]:
    """Retrieval can help on as many rows as hold their answer in the passages found, less those that do by chance."""
    hits, chance = found.get("answers_in_documents"), found.get("answers_by_chance")
    share, by_chance = number(found, "answers_in_documents"), number(found, "answers_by_chance")
    if hits is None or chance is None or share is None or by_chance is None:
        return []
    if text(found, "task_type") == "classification":  # a label in a passage is a word, not an answer
        return []
    gain = max(0.0, share - by_chance)
    low, high = hits.interval or (share, share)
    said = (
        f"the documents hold {share:.0%} of the answers ({low:.0%} to {high:.0%}, {hits.n} rows), "
        f"against {by_chance:.0%} in random passages"
    )
    return votes(
        said, rag=4 * gain - 0.6, rag_lora=3 * gain - 0.6, zero_shot=-0.8 * gain, few_shot=-0.8 * gain, lora=-0.8 * gain
    )
