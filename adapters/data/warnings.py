"""What may be wrong with data that can be used: doubles, contradictions, labels too rare to learn. Sentences, for people.

Nothing here stops a tuning. Knows no tokenizer and no method.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from adapters.conversation import Example

MOST_LABELS = 100
"""More different answers than this, or than a third of the rows, are no labels."""
SHARE_OF_COMMONEST = 0.8
LINES_SHOWN = 5


def warnings(examples: Sequence[Example]) -> list[str]:
    """Each with how many rows it concerns and the lines of the first of them."""
    asked: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for example in examples:
        asked[example.prompt_key][example.answer].append(example.line)
    doubles = [line for answers in asked.values() for lines in answers.values() for line in lines[1:]]
    contradicted = [line for answers in asked.values() if len(answers) > 1 for lines in answers.values() for line in lines]
    found = [
        _said(doubles, "that say the same as an earlier one, and so count more than once"),
        _said(contradicted, "that ask the same as another and answer differently, which no model can learn"),
    ]
    return [warning for warning in [*found, *_about_labels(examples)] if warning]


def overlap(train: Sequence[Example], validation: Sequence[Example]) -> list[str]:
    """What stands in both files, so that the validation would measure memory."""
    known = {example.prompt_key for example in train}
    lines = [example.line for example in validation if example.prompt_key in known]
    warning = _said(lines, "of the validation file that ask what a training row asks, which is therefore left out")
    return [warning] if warning else []


def _about_labels(examples: Sequence[Example]) -> list[str]:
    if any(example.is_document for example in examples):
        return []
    counted = Counter(example.answer for example in examples)
    if not 1 < len(counted) <= min(MOST_LABELS, len(examples) // 3):
        return []
    found = []
    once = {answer for answer, count in counted.items() if count < 2}
    if once:
        lines = [example.line for example in examples if example.answer in once]
        found.append(_said(lines, f"with an answer that no other has, beside {len(counted) - len(once)} common answers"))
    answer, count = counted.most_common(1)[0]
    if count > SHARE_OF_COMMONEST * len(examples):
        share = count / len(examples)
        found.append(f"{count} of {len(examples)} rows answer '{answer}': saying that and nothing else would score {share:.2f}")
    return found


def _said(lines: Iterable[int], what: str) -> str:
    counted = sorted(lines)
    if not counted:
        return ""
    first = ", ".join(map(str, counted[:LINES_SHOWN]))
    more = ", …" if len(counted) > LINES_SHOWN else ""
    return f"rows {what}: {len(counted)} (line {first}{more})"
