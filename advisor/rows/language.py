"""Which language texts are in: a guess by script and by the commonest words of some languages, with how sure it is.

The words are short ones that every text of the language is full of. Names, formulas and single words have none of them, and
then no language is guessed. Needs no model and no network.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

from advisor.evidence import Evidence, share

COMMON = {
    "en": "the of and to in is that for it with as was on are this by be from or an what how you not which does has have can",
    "de": "der die das und ist in den von zu mit sich des auf für nicht ein eine einer dem im als auch werden wird hat oder",
    "fr": "le la les de des et est en un une du que qui dans pour au sur par plus ne pas ce cette aux son ses ou sont être",
    "es": "el la los las de y que en un una es por con para del se no al lo como más su sus o son esta este tiene ser toda",
    "it": "il lo la gli le di e che in un una è per con del della dei non si al alla come più suo sono nel ogni ha questo ed",
    "pt": "o a os as de e que em um uma é por com para do da dos das não se ao na no como mais seu sua são ou todo toda ser",
    "nl": "de het een en van in is dat op te met voor niet zijn aan er door als ook heeft naar uit wordt bij of om deze kan",
    "sv": "och i att det som en på är av för med till den har inte om ett han var de sig så från eller alla skall kan vid",
    "da": "og i at det som en på er af for med til den har ikke om et han var de sig så fra eller alle skal kan ved enhver",
    "no": "og i å det som en på er av for med til den har ikke om et han var de seg så fra eller alle skal kan ved enhver",
    "fi": "ja on ei että se hän oli joka mutta tai kuin ovat myös niin jos sen kun ole hänen jokaisella oikeus kaikki tämä",
    "pl": "i w na z do się nie jest to że o od po za przez jak dla są lub który ma oraz być każdy tym jego ich tak czy co",
    "cs": "a v na se je že s z do o k pro to jako za by má podle nebo které jsou být každý jeho při od po až není co",
    "hu": "a az és hogy nem is egy van ez meg de mint vagy minden volt csak ki már amely joga kell által fel szerint más sem",
    "ro": "de și în a la cu pe este nu o un că din care pentru se sau prin orice are ca mai fi sunt său sa al ale dreptul",
    "tr": "ve bir bu da de için ile olarak olan çok daha her gibi ne var kadar sonra veya değil ki hakkı göre en ise ya mı",
    "eu": "eta da ez bat du dira izan egin baina hau edo ere dute zen duen bere den hori batean izango dago beharko orri",
    "id": "yang dan di dengan untuk dari ini itu pada adalah tidak dalam akan oleh atau ke juga setiap orang sebagai ada telah",
}
"""By ISO 639-1, about thirty words each."""

SCRIPTS = {
    "CYRILLIC": "ru", "GREEK": "el", "ARABIC": "ar", "HEBREW": "he", "DEVANAGARI": "hi", "THAI": "th", "HANGUL": "ko",
    "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh", "BENGALI": "bn", "TAMIL": "ta", "GEORGIAN": "ka", "ARMENIAN": "hy",
}  # fmt: skip
"""By how Unicode names a letter, the language that most text of the script is in; several languages share one."""

FEWEST_KNOWN = 0.08
"""Words of a text that must be among a language's; of running text a third to a half are."""
FEWEST_WORDS = 2
"""Different ones: a word alone is common in a language that the text is not in."""
AGREED = 0.6
"""Texts with a guess that must have the same for all together to have it."""
WORD = re.compile(r"[^\W\d_]+")
"""Words of one letter are left out of counting: formulas are full of them."""


def language(texts: Sequence[str]) -> list[Evidence]:
    """`language`: a code of ISO 639-1, `mixed`, or `none` where few texts read like any; and the share it is told from."""
    guesses = [guess(text) for text in texts]
    counted = Counter(found for found in guesses if found)
    told, n = sum(counted.values()), len(texts)
    common, most = counted.most_common(1)[0] if counted else ("none", 0)
    said = "none" if told < 0.2 * n else common if most >= AGREED * told else "mixed"
    how = (
        f"guessed by script and {len(COMMON)} lists of common words: {most} of {n} texts read like '{common}', "
        f"{n - told} like no language"
    )
    return [Evidence("language", said, "", how, n), share("language_share", most, n, f"texts that read like '{common}'")]


def guess(text: str) -> str | None:
    words = WORD.findall(text.casefold())
    letters = "".join(words)
    if not letters:
        return None
    script = Counter(_script(letter) for letter in letters[:400]).most_common(1)[0][0]
    if script == "CJK" and any(_script(letter) in ("HIRAGANA", "KATAKANA") for letter in letters):
        return "ja"
    if script != "LATIN":
        return SCRIPTS.get(script)
    lists = _lists()
    hits = Counter(code for word in words for code in lists.get(word, ()))
    different = Counter(code for word in set(words) for code in lists.get(word, ()))
    if not hits:
        return None
    code = max(hits, key=lambda one: (hits[one], different[one]))  # of equals the first in COMMON's order of its words
    return code if different[code] >= FEWEST_WORDS and hits[code] >= FEWEST_KNOWN * len(words) else None


@cache
def _lists() -> dict[str, tuple[str, ...]]:
    """By word, the languages that have it among their commonest."""
    codes: dict[str, tuple[str, ...]] = {}
    for code, listed in COMMON.items():
        for word in (word for word in listed.split() if len(word) > 1):
            codes[word] = (*codes.get(word, ()), code)
    return codes


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]
