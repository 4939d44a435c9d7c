"""The heads a classifier process has, and the texts that wait for them: what arrives together goes through the backbone
together, whichever heads it is for. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

from adapters.classifier import Backbone, Classifier, open_backbone, open_classifier, read_card
from adapters.errors import Unservable

OWN_KEPT = 4
"""Heads whose tuned backbone stays in memory, each a whole encoder; others are read again when asked."""
MOST_TEXTS = 256
"""To one pass."""


class Desk:
    def __init__(self, base_folder: Path) -> None:
        self._base_folder = base_folder
        self.folders: dict[str, Path] = {}
        self._frozen: dict[str, Classifier] = {}
        self._own: OrderedDict[str, Classifier] = OrderedDict()
        self._shared: dict[str, Backbone] = {}
        self._waiting: list[tuple[str, str, asyncio.Future[dict[str, float]]]] = []
        self._came = asyncio.Event()
        self._opening = asyncio.Lock()

    async def load(self, name: str, folder: Path) -> None:
        """Raises Unservable or Unproven, with the reason."""
        await self._opened(name, folder)
        self.folders[name] = folder

    def unload(self, name: str) -> bool:
        self._frozen.pop(name, None)
        self._own.pop(name, None)
        return self.folders.pop(name, None) is not None

    async def probabilities(self, name: str, text: str) -> dict[str, float]:
        """By label. The name must be loaded."""
        answer: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, text, answer))
        self._came.set()
        return await answer

    async def work(self) -> None:
        """Until cancelled."""
        while True:
            await self._came.wait()
            taken, self._waiting = self._waiting[:MOST_TEXTS], self._waiting[MOST_TEXTS:]
            if not self._waiting:
                self._came.clear()
            asked = [one for one in taken if not one[2].done()]  # callers who have left are not worked for
            by_backbone: dict[int, list[tuple[Classifier, str, Any]]] = defaultdict(list)
            for name, text, answer in asked:
                try:
                    classifier = await self._opened(name, self.folders[name])
                except (Unservable, KeyError) as error:
                    answer.set_exception(error)
                    continue
                by_backbone[id(classifier.backbone)].append((classifier, text, answer))
            for group in by_backbone.values():
                await self._answer(group)

    async def _answer(self, group: list[tuple[Classifier, str, Any]]) -> None:
        features = await asyncio.to_thread(group[0][0].backbone.features, [text for _, text, _ in group])
        for (classifier, _, answer), vector in zip(group, features, strict=True):
            (values,) = classifier.of_features(vector.unsqueeze(0))
            if not answer.done():
                answer.set_result(dict(zip(classifier.labels, values, strict=True)))

    async def _opened(self, name: str, folder: Path) -> Classifier:
        async with self._opening:
            found = self._frozen.get(name) or self._own.get(name)
            if found is None:
                found = await asyncio.to_thread(self._open, folder)
                kept = self._own if found.card.is_own else self._frozen
                kept[name] = found
            if name in self._own:
                self._own.move_to_end(name)
                if len(self._own) > OWN_KEPT:
                    self._own.popitem(last=False)
        return found

    def _open(self, folder: Path) -> Classifier:
        card = read_card(folder)
        if card.is_own:
            return open_classifier(folder, self._base_folder)
        if card.reads not in self._shared:
            self._shared[card.reads] = open_backbone(card.reads, self._base_folder)
        return open_classifier(folder, self._base_folder, self._shared[card.reads])
