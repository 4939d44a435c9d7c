"""Are the answers labels? Then nothing else can be answered, and they can be named in the instruction. Knows no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from adapters.conversation import Example

MOST_UNSEEN = 0.05
MOST_LABELS, MOST_WORDS = 1000, 16
MOST_NAMED, MOST_NAMED_CHARACTERS = 40, 800
"""Labels that an instruction lists."""
RULE = (
    f"labels: two to {MOST_LABELS} different answers of at most {MOST_WORDS} words, of which so few stand in one row only that "
    f"at most {100 * MOST_UNSEEN:.0f} % of new rows would have another"
)


def labels_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """The labels of a classification, sorted; none where the answers are not labels.

    They are where new rows will have an answer that was seen: the share of rows whose answer no other row has estimates
    how many will not (Good, 1953, The population frequencies of species), and must not be above 5 %.
    """
    counted = Counter(example.answer for example in examples)
    seen_once = sum(count == 1 for count in counted.values())
    if not 2 <= len(counted) <= MOST_LABELS or seen_once > MOST_UNSEEN * len(examples):
        return ()
    if not all(answer.strip() == answer != "" and len(answer.split()) <= MOST_WORDS for answer in counted):
        return ()
    return tuple(sorted(counted))


def naming(labels: Sequence[str]) -> str | None:
    """An instruction that lists them; None where the list would be long, or where there are none."""
    listed = ", ".join(labels)
    if not labels or len(labels) > MOST_NAMED or len(listed) > MOST_NAMED_CHARACTERS:
        return None
    return f"Answer with one of: {listed}. Say nothing else."
