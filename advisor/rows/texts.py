"""What texts look like: how natural, how varied the answers are, and whether they hold what goes out of date.

All of it is counted on the characters and words. Knows no model.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from advisor.evidence import Evidence, share

PLAIN = frozenset(" \n.,;:!?'\"-()’“”–…¿¡«»、。，")
"""What running text has beside letters."""
VOLATILE = {
    "a date": re.compile(
        r"\b(?:19|20)\d\d[-/.]\d{1,2}(?:[-/.]\d{1,2})?\b|\b\d{1,2}[./]\d{1,2}[./](?:19|20)?\d\d\b"
        r"|\b(?:january|february|march|april|june|july|august|september|october|november|december)\b\.? \d{1,4}\b"
        r"|\b(?:in|since|until|by|of) (?:19|20)\d\d\b",
        re.IGNORECASE,
    ),
    "a price": re.compile(r"[$€£¥]\s?\d|\b\d[\d.,]*\s?(?:[$€£¥]|usd|eur|gbp|dollars?|euros?)(?!\w)", re.IGNORECASE),
    "a version": re.compile(r"\bv?\d+\.\d+\.\d+\b|\b(?:version|release|v)\.? ?\d+(?:\.\d+)*\b", re.IGNORECASE),
    "a time of now": re.compile(r"\b(?:currently|as of|latest|this (?:year|month|week)|today)\b", re.IGNORECASE),
}


def natural_share(texts: Sequence[str]) -> float:
    """Of all characters, those that are letters in words, spaces or plain punctuation."""
    total = sum(map(len, texts))
    natural = sum(character.isalpha() or character in PLAIN for text in texts for character in text)
    return natural / total if total else 0.0


def naturalness(texts: Sequence[str], reference: Sequence[str]) -> list[Evidence]:
    """Against everyday text, which has its own share of signs and figures; the null spans nearly all of its texts."""
    own = sorted(natural_share([text]) for text in reference)
    low, high = own[int(0.025 * len(own))], own[int(0.975 * (len(own) - 1))]
    how = "characters that are letters, spaces or plain punctuation, of questions and answers without what all rows share"
    return [
        Evidence("naturalness", round(natural_share(texts), 4), "share", how, len(texts)),
        Evidence(
            "naturalness_null", round(natural_share(reference), 4), "share",
            "the same of everyday texts; the interval holds 95 % of them, one by one", len(own),
            (round(low, 4), round(high, 4)),
        ),
    ]  # fmt: skip


def variety(answers: Sequence[str]) -> list[Evidence]:
    """How much there is to know of an answer before the question is read."""
    counted, n = Counter(answers), len(answers)
    entropy = sum(-count / n * math.log2(count / n) for count in counted.values())
    return [
        Evidence(
            "answer_entropy_bits", round(entropy, 3), "bits",
            f"Shannon's entropy of the answers as they are counted; {math.log2(n):.2f} where all {n} differ", n,
        ),
        share("distinct_answer_share", len(counted), n, "different answers, letter case and spacing aside"),
    ]  # fmt: skip


def volatile(answers: Sequence[str]) -> Evidence:
    """Facts that will not stay: told by patterns, so a hint and no proof."""
    kinds = Counter(kind for answer in answers for kind, pattern in VOLATILE.items() if pattern.search(answer))
    hits = sum(any(pattern.search(answer) for pattern in VOLATILE.values()) for answer in answers)
    said = ", ".join(f"{kind} in {count}" for kind, count in kinds.most_common()) or "none of them"
    return share("volatile_share", hits, len(answers), f"answers that hold a date, price, version or word of now: {said}")
