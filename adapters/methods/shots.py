"""Few shots and many: examples in the prompt, chosen on validation rows. How they are chosen is loaded when they are."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.conversation import Example
from adapters.methods.contract import Asked, Choosing, Fitted
from adapters.methods.in_context import NUMBERS, is_open
from adapters.tuning.recipe import Recipe


class FewShot:
    def searches(self, recipe: Recipe) -> bool:
        return is_open(recipe)

    def longest_prompt(self, recipe: Recipe, row_tokens: int) -> int:
        return min(recipe.max_length, row_tokens * (1 + (recipe.shots or max(NUMBERS))))

    def fit(self, choosing: Choosing) -> Fitted:
        from adapters.methods.shot_grid import choose_few

        return choose_few(choosing)

    def asked(self, fitted: Fitted, examples: Sequence[Example], choosing: Choosing) -> list[Asked]:
        from adapters.methods.shot_grid import asked

        return asked(fitted, examples, choosing)


class ManyShot(FewShot):
    """As many as the prompt holds. Which are nearest matters less then, and that they are the same saves most of the price."""

    def searches(self, recipe: Recipe) -> bool:
        return True

    def longest_prompt(self, recipe: Recipe, row_tokens: int) -> int:
        return recipe.max_length

    def fit(self, choosing: Choosing) -> Fitted:
        from adapters.methods.shot_grid import choose_many

        return choose_many(choosing)
