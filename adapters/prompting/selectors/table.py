"""The selectors there are, by the word that a prompt file or a `Selection` uses."""

from __future__ import annotations

from adapters.prompting.selectors.balanced import Balanced
from adapters.prompting.selectors.bm25 import ByWords
from adapters.prompting.selectors.contract import Selector
from adapters.prompting.selectors.fixed import Fixed
from adapters.prompting.selectors.knn import NearestNeighbours
from adapters.prompting.selectors.mmr import MarginalRelevance
from adapters.prompting.selectors.random import Random

SELECTORS: dict[str, Selector] = {
    "fixed": Fixed(),
    "random": Random(),
    "balanced": Balanced(),
    "knn": NearestNeighbours(),
    "mmr": MarginalRelevance(),
    "bm25": ByWords(),
}
