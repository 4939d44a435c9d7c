"""What counts as a word of a text, for whoever compares texts by their words. Knows no passage and no index."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"\w+(?:[-.]\w+)*")
PART = re.compile(r"[^\W_]+")

EMPTY_WORDS = frozenset({
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could",
    "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is",
    "it", "its", "just", "may", "more", "most", "no", "not", "of", "on", "one", "only", "or", "other", "our", "out",
    "over", "she", "should", "so", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "those", "to", "too", "up", "use", "used", "was", "we", "were", "what", "when", "where", "which",
    "who", "will", "with", "would", "you", "your",
})  # fmt: skip
"""English words that say nothing of what a text is about."""


def folded(text: str) -> str:
    """The text without what one writer spells so and another otherwise: case, ligatures, accents as signs of their own."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """Lower-cased words in order. One that holds `_`, `-` or `.` (`foo_bar`, `max-loras`, `3.11`) is followed by its parts."""
    found: list[str] = []
    for word in WORD.findall(folded(text)):
        found.append(word)
        parts = PART.findall(word)
        if len(parts) > 1:
            found += parts
    return found


def telling(question: str) -> list[str]:
    """Each word of a question once, without the empty ones, unless there are no others."""
    asked = list(dict.fromkeys(words(question)))
    return [word for word in asked if word not in EMPTY_WORDS] or asked
