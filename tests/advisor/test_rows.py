"""What the texts of rows say: who repeats whom, in which language, how natural, varied and long, how many are usable."""

from __future__ import annotations

import json
import random
import time
from itertools import pairwise

import pytest

from adapters.conversation import Example, Message
from advisor.evidence import by_name
from advisor.profile import profile
from advisor.rows.alike import nearly_among, nearly_repeated
from advisor.rows.counting import Counting, counted
from advisor.rows.language import guess, language
from advisor.rows.texts import naturalness, variety, volatile
from advisor.shift.sample import everyday

LONG = "the parcel that I ordered two weeks ago has still not arrived at the house of my aunt in the north"


def asked(*pairs: tuple[str, str]) -> list[Example]:
    return [Example((Message("user", q), Message("assistant", a)), line, (1,)) for line, (q, a) in enumerate(pairs, start=1)]


# -- nearly the same


def test_a_text_with_one_word_changed_is_nearly_the_same_and_one_with_four_is_not() -> None:
    one, four = LONG.replace("aunt", "uncle"), LONG.replace("two", "six").replace("parcel", "book").replace("north", "east")
    assert nearly_repeated([LONG, one, four.replace("house", "shop")]) == [False, True, False]
    assert nearly_repeated([LONG, f"  {LONG.upper()} "]) == [False, True]


def test_short_texts_that_differ_in_a_word_are_different() -> None:
    assert nearly_repeated(["ticket 12 is late", "ticket 13 is late", "separate", "seperate"]) == [False] * 4


def test_all_pairs_are_found_that_comparing_all_with_all_finds() -> None:
    dice = random.Random(0)
    words = [f"w{number}" for number in range(30)]
    texts = [" ".join(dice.choices(words, k=12)) for _ in range(60)]
    texts += [text.replace("w3 ", "w4 ") for text in texts[:30]]

    def parts(text: str) -> set[str]:
        said = text.split()
        return {*said, *(" ".join(pair) for pair in pairwise(said))}

    def like_one_before(place: int) -> bool:
        own = parts(texts[place])
        return any(len(own & parts(t)) >= 0.8 * len(own | parts(t)) for t in texts[:place])

    assert nearly_repeated(texts) == [like_one_before(place) for place in range(len(texts))]


def test_five_thousand_rows_take_a_few_seconds() -> None:
    dice = random.Random(0)
    words = [f"word{number}" for number in range(2000)]
    texts = [" ".join(dice.choices(words, k=20)) for _ in range(5000)]
    began = time.process_time()
    assert sum(nearly_repeated(texts)) == 0
    assert time.process_time() - began < 6


def test_test_rows_that_stand_among_the_others_have_leaked() -> None:
    assert nearly_among([LONG.replace("aunt", "uncle"), "something else entirely"], [LONG]) == [True, False]
    rows = asked((LONG, "late"), ("where is my money", "refund"), ("a wholly other matter", "other"))
    test = asked((LONG.replace("aunt", "uncle"), "late"), ("how do I log in", "account"))
    found = by_name(profile(rows, test=test))
    assert (found["leakage_share"].value, found["leakage_share"].n) == (0.5, 2)
    assert "leakage_share" not in by_name(profile(rows))


# -- language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The bridge is closed because of the storm, and nobody knows for how long.", "en"),
        ("Die Brücke ist wegen des Sturms gesperrt, und niemand weiß, für wie lange.", "de"),
        ("Le pont est fermé à cause de la tempête et personne ne sait pour combien de temps.", "fr"),
        ("El puente está cerrado por la tormenta y no se sabe para cuánto tiempo.", "es"),
        ("Il ponte è chiuso per il temporale e non si sa per quanto tempo.", "it"),
        ("De brug is dicht door de storm en het is niet bekend voor hoe lang.", "nl"),
        ("Most jest zamknięty przez burzę i nie wiadomo, jak długo to potrwa.", "pl"),
        ("Мост закрыт из-за бури, и никто не знает, надолго ли.", "ru"),
        ("橋は嵐のために閉鎖されています。", "ja"),
        ("由于暴风雨,桥梁关闭。", "zh"),
        ("1.e4 e5 2.Nf3 Nc6 3.Bb5 a6 4.Ba4 Nf6", None),
        ("CC(=O)OC1=CC=CC=C1C(=O)O", None),
        ("", None),
    ],
)
def test_a_language_is_told_by_script_and_common_words(text: str, code: str | None) -> None:
    assert guess(text) == code


def test_texts_of_many_languages_are_mixed_and_those_of_none_are_none() -> None:
    said = language(["It is late and the shop is closed.", "Es ist spät und der Laden zu.", "Il est tard et la rue vide."])
    assert said[0].value == "mixed"
    (none, share_) = language([f"x{n} = {n}*y" for n in range(10)])
    assert none.value == "none"
    assert share_.value == 0.0
    assert "10 like no language" in none.how


# -- signs, variety, volatility


def test_code_is_less_natural_than_prose_and_the_reference_says_what_is_usual() -> None:
    prose, _ = naturalness(["She went home, for it was late."], everyday())
    code, null = naturalness(["for(i=0;i<n;i++){a[i]=b[i]*2;}"], everyday())
    assert null.interval is not None
    assert float(code.value or 0) < null.interval[0] <= float(prose.value or 0)


def test_entropy_is_that_of_a_coin_for_two_equal_answers() -> None:
    entropy, distinct = variety(["yes", "no"] * 8)
    assert (entropy.value, distinct.value) == (1.0, 0.125)
    assert variety(["same"] * 5)[0].value == 0.0
    assert variety([str(number) for number in range(8)])[0].value == 3.0


@pytest.mark.parametrize(
    ("answer", "is_volatile"),
    [
        ("It was released on 2024-03-01.", True), ("It costs 40 euros", True), ("$3", True), ("since version 3.11", True),
        ("numpy 2.3.1", True), ("The latest one is bigger.", True), ("on March 3", True), ("Paris", False), ("17", False),
        ("She may come in spring.", False), ("three apples, 2.5 each", False),
    ],
)  # fmt: skip
def test_what_goes_out_of_date_is_told_by_its_form(answer: str, is_volatile: bool) -> None:
    assert volatile([answer]).value == float(is_volatile)


# -- how many are usable


def test_rows_that_repeat_or_are_too_long_for_the_base_are_not_usable() -> None:
    rows = asked(("a b", "c"), ("a  B", "c"), ("a b", "d"), ("long " * 50, "e"))
    by_words = Counting(lambda texts: [len(text.split()) for text in texts], frame=3, context=40)
    found = by_name(counted(rows, by_words))
    assert found["usable_rows"].value == 2
    assert "1 repeat another" in found["usable_rows"].how
    assert "1 are too long" in found["usable_rows"].how
    assert found["dataset_tokens"].value == 3 * (2 + 1 + 3) + 50 + 1 + 3
    assert by_name(counted(rows, None))["usable_rows"].value == 3


def test_every_number_says_how_it_was_got_and_is_the_same_again() -> None:
    rows = asked(*((f"ticket {n}: my card was charged {n % 7} times", ("billing", "other")[n % 2]) for n in range(40)))
    one, other = profile(rows), profile(rows)
    assert one == other
    assert all(evidence.how and evidence.n for evidence in one)
    assert len({evidence.name for evidence in one}) == len(one)
    json.dumps([evidence.value for evidence in one])
