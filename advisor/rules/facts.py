"""Rules about facts: whether answers need what the base cannot know, whether that changes, whether documents hold it."""

from __future__ import annotations

from advisor.evidence import Found, number, text
from advisor.reason import because
from advisor.rules.contract import Vote, bounded, votes

READS = 0.2
"""Of the answers: less than that, with the right passage before it, and a base is no reader yet."""


def unknown_facts(found: Found) -> list[Vote]:
    """On facts newer than the base, passages in the prompt beat the best tuning by 19 to 31 points (Ovadia et al. 2024,
    EMNLP); training on facts the base does not know makes it worse at those it knows (Gekhman et al. 2024)."""
    name = "needs_new_knowledge" if number(found, "needs_new_knowledge") is not None else "unknown_share"
    need = number(found, name)
    if need is None or (name == "unknown_share" and (text(found, "task_type") == "classification" or _cannot_tell(found))):
        return []
    tells = "need facts the base cannot know" if name == "needs_new_knowledge" else "are not among what the base knows"
    reason = because(found, f"{{{name}:.0%}} of the answers {tells}")
    return [
        *votes(reason, rag=4 * need - 1.5, rag_lora=3.6 * need - 1.5),
        *votes(reason, zero_shot=-1.2 * need, few_shot=-1.2 * need, knn_few_shot=-1.0 * need, many_shot=-0.8 * need,
               lora=-1.2 * need, head=-0.8 * need, prompt_tuning=-1.2 * need, full=-1.0 * need,
               continued_pretraining=need - 0.5),
    ]  # fmt: skip


def _cannot_tell(found: Found) -> bool:
    """A base that answers neither without a passage nor with the right one has not shown that it knows anything."""
    closed, oracle = number(found, "closed_book_score"), number(found, "oracle_score")
    return closed is not None and oracle is not None and max(closed, oracle) < READS


def questions_with_documents(found: Found) -> list[Vote]:
    """Passages add to closed-book answers of facts that were in pretraining too: 36.6 to 44.5 and 37.4 to 45.5 exact matches
    over tuning (Natural Questions, WebQuestions: Lewis et al. 2020), and on most subjects of MMLU (Ovadia et al. 2024). As much
    as it takes for retrieval to stand a point over a prompt where nobody says that facts are missing."""
    kind = text(found, "task_type")
    if kind not in ("question_answering", "qa_closed_book") or not number(found, "corpus_tokens"):
        return []
    if number(found, "answers_in_documents") is not None:  # looked up, which tells more
        return []
    return votes(because(found, "a {task_type} with {corpus_tokens:,.0f} tokens of documents to look it up in"),
                 rag=2.6, rag_lora=2.8)  # fmt: skip


def changing_facts(found: Found) -> list[Vote]:
    """Documents are replaced in a second, weights are trained again (the one point all vendors' guides share)."""
    if not number(found, "knowledge_changes"):
        return []
    reason = because(found, "the facts change while the model is in use", "knowledge_changes")
    return votes(reason, rag=1.5, rag_lora=0.5, lora=-0.8, prompt_tuning=-0.5, full=-1.2, continued_pretraining=-2.0)


def documents(found: Found) -> list[Vote]:
    """Retrieval can help on as many rows as hold their answer in the passages found, less those that do by chance."""
    share, by_chance = number(found, "answers_in_documents"), number(found, "answers_by_chance")
    if share is None or by_chance is None:
        return []
    if text(found, "task_type") == "classification":  # a label in a passage is a word, not an answer
        return []
    gain = max(0.0, share - by_chance)
    says = "the documents hold {answers_in_documents:.0%} of the answers, random passages {answers_by_chance:.0%}"
    reason = because(found, says)
    return votes(reason, rag=4 * gain - 0.6, rag_lora=3 * gain - 0.6, zero_shot=-0.8 * gain, few_shot=-0.8 * gain,
                 knn_few_shot=-0.8 * gain, lora=-0.8 * gain)  # fmt: skip


def passages(found: Found) -> list[Vote]:
    """Closed book, the right passage, the passages found: their distances say what retrieval, and what only training, can mend
    (closed-book and oracle as bounds: Lewis et al. 2020; Soudani et al. 2024)."""
    closed, oracle = number(found, "closed_book_score"), number(found, "oracle_score")
    if closed is None or oracle is None:
        return []
    room = oracle - closed
    reason = because(found, "{closed_book_score:.2f} without a passage, {oracle_score:.2f} with the right one")
    left = because(found, "even with the right passage {oracle_score:.2f}: the rest only training or a larger base can mend")
    return votes(reason, rag=4 * room - 0.4, rag_lora=3 * room - 0.4) + votes(left, rag_lora=1.5 * (1 - oracle) - 0.3)


def passages_tell(found: Found) -> list[Vote]:
    """What a passage does to the loss of the right answers shows whether it tells them, before a base can say them: only a
    passage that answers lowers it beyond what any passage does (loss of gold answers under retrieved text as the measure of its
    worth: Shi et al. 2024, REPLUG; Soudani et al. 2024, whose tuned readers gained most where bases are small)."""
    right, other = number(found, "gain_nats_oracle"), number(found, "gain_nats_random")
    if right is None or other is None:
        return []
    gain = right - other
    says = "the right passage makes answers likelier by {gain_nats_oracle:.2f} nats a token, another by {gain_nats_random:.2f}"
    reason = because(found, says)
    return votes(reason, rag=bounded(0.4 * gain, -0.4, 0.8), rag_lora=bounded(1.5 * gain, -0.6, 2.4),
                 lora=bounded(-0.5 * gain, -0.8, 0.3), full=bounded(-0.5 * gain, -0.8, 0.3))  # fmt: skip
