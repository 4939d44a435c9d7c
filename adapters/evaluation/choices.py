"""Answers that can only be one of some texts: which tokens may come next. As engines constrain structured output.

Any tokens will do whose bytes spell a choice, not only those that the tokenizer would cut it into; an answer ends where a
choice ends. Knows no model.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapters.data.tokens import stop_ids
from adapters.errors import InvalidInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Choices:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
        """Raises InvalidInput for no texts, an empty one, or a tokenizer without a token to end with."""
        if not texts or not all(texts):
            raise InvalidInput("choices must be texts, at least one, none empty", param="choices")
        self._texts = [text.encode() for text in texts]
        self.most_tokens = max(map(len, self._texts)) + 1
        """One for every byte at worst, and the end."""
        self._stops = sorted(stop_ids(tokenizer))
        if not self._stops:
            raise InvalidInput("the base has no token that ends an answer, so choices cannot end either", param="base")
        self._ids, self._spelt = _vocabulary(tokenizer, self._texts)
        self._known: dict[bytes, list[int]] = {}

    def next(self, made: Sequence[int]) -> list[int]:
        """The tokens that may follow those made so far. Only those that end an answer where the tokens begin no more than one
        choice: nothing else could come of it, so the model need not be asked."""
        if any(token not in self._spelt for token in made):  # it has ended; what follows is padding
            return self._stops
        text = self._text(made)
        if text not in self._known:
            self._known[text] = self._after(text)
        return self._known[text]

    def answer(self, made: Sequence[int]) -> str:
        """The choice that tokens as `next` allows them came to, or began when nothing else was left."""
        text = self._text(made)
        return (text if text in self._texts else next(one for one in self._texts if one.startswith(text))).decode()

    def _text(self, made: Sequence[int]) -> bytes:
        return b"".join(self._spelt[token] for token in itertools.takewhile(self._spelt.__contains__, made))

    def _after(self, text: bytes) -> list[int]:
        rests = {choice[len(text) :] for choice in self._texts if choice.startswith(text)}
        if len(rests) < 2:
            return self._stops
        begun = {rest[:size] for rest in rests for size in range(1, len(rest) + 1)}
        allowed = [token for piece in begun for token in self._ids.get(piece, ())]
        return allowed + self._stops if b"" in rests else allowed


def _vocabulary(tokenizer: PreTrainedTokenizerBase, texts: Sequence[bytes]) -> tuple[dict[bytes, list[int]], dict[int, bytes]]:
    """(tokens by their bytes, bytes by token), of those that stand somewhere in the texts."""
    everything = b"\n".join(texts)
    letters = _byte_level_letters() if _is_byte_level(tokenizer) else None
    ids: dict[bytes, list[int]] = defaultdict(list)
    spelt: dict[int, bytes] = {}
    added = set(tokenizer.get_added_vocab().values())
    for token, number in tokenizer.get_vocab().items():
        if number in added:
            continue
        piece = _spelling(token) if letters is None else bytes(letters[letter] for letter in token if letter in letters)
        if piece and piece in everything:
            ids[piece].append(number)
            spelt[number] = piece
    return ids, spelt


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether its tokens are written in the letters that GPT-2 gave to bytes, or as text with a mark for spaces."""
    return "ByteLevel" in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])


def _spelling(token: str) -> bytes:
    single = _BYTE.fullmatch(token)
    return bytes([int(single[1], 16)]) if single else token.replace("\u2581", " ").encode()


def _byte_level_letters() -> dict[str, int]:
    """Printable bytes of Latin-1 stand for themselves, the others, in order, for the letters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
