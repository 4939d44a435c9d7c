"""Which texts say nearly the same: Jaccard similarity of their words and word pairs, found without comparing all with all.

Two sets that share at least a share t of their union also share one of the rarest (1 - t) of each (prefix filtering,
Chaudhuri et al., 2006), so only texts that meet in a rare word are compared, and none is missed. Knows no row and no model.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from adapters.retrieval.words import folded

NEARLY = 0.8
"""Of the union of two texts' words and word pairs: among twelve words one may differ, not two."""
MOST_MEETING = 400
"""Texts that meet in one word and are compared with each other; so many only meet where all are about one thing."""


def nearly_repeated(texts: Sequence[str]) -> list[bool]:
    """Of each text, whether an earlier one says nearly or wholly the same."""
    return _like_before(texts, len(texts) * [False])


def nearly_among(texts: Sequence[str], known: Sequence[str]) -> list[bool]:
    """Of each text, whether one of the known says nearly or wholly the same."""
    return _like_before([*known, *texts], [True] * len(known) + [False] * len(texts), only_known=True)[len(known) :]


def _like_before(texts: Sequence[str], known: Sequence[bool], *, only_known: bool = False) -> list[bool]:
    sets = _sets(texts)
    meeting: dict[int, list[int]] = defaultdict(list)
    found = [False] * len(texts)
    for number, own in enumerate(sets):
        rare = own[: len(own) - math.ceil(NEARLY * len(own)) + 1]
        near = {other for part in rare for other in meeting[part][:MOST_MEETING]}
        found[number] = any(_alike(own, sets[other]) for other in near)
        if not only_known or known[number]:
            for part in rare:
                meeting[part].append(number)
    return found


def _sets(texts: Sequence[str]) -> list[list[int]]:
    """Each text as the numbers of its parts, the rarest part first; a number is a part's place among all by rarity."""
    parts = [_parts(text) for text in texts]
    counted = Counter(part for own in parts for part in own)
    place = {part: number for number, part in enumerate(sorted(counted, key=lambda part: (counted[part], part)))}
    return [sorted(place[part] for part in own) for own in parts]


def _parts(text: str) -> set[str]:
    """Words and word pairs; of a text of one word, the word."""
    words = folded(text).split()
    return {*words, *(f"{one} {other}" for one, other in pairwise(words))}


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    if min(len(one), len(other)) < NEARLY * max(len(one), len(other)):
        return False
    shared = len(set(one) & set(other))
    return shared >= NEARLY * (len(one) + len(other) - shared)
