"""Templates and inputs: bounded work, nothing reachable, values never looked at as templates, every error with its name."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import GraftError, InvalidInput
from adapters.prompting.engine import compile
from adapters.prompting.inputs import checked, is_plain, parse_inputs

WHERE = "messages[1].content"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("text", ["Label: {{ticket}}", "Label: {{ ticket }}", "Label: {{  ticket  }}"])
def test_the_braces_of_github_models_mlflow_and_langfuse_work(text: str) -> None:
    assert compile(text, WHERE).render({"ticket": "late"}) == "Label: late"


@given(value=st.text(st.characters(exclude_categories=("Cs",))))
def test_a_value_arrives_as_it_is_whatever_stands_in_it(value: str) -> None:
    assert compile("{{ a }}|{{ b }}\n", WHERE).render({"a": value, "b": "{{ a }}{% for"}) == f"{value}|{{{{ a }}}}{{% for\n"


@given(text=st.text(st.sampled_from("{}%# ab'\"|.()[]\n-")), value=JSON)
def test_any_text_is_a_template_or_is_refused_with_its_place(text: str, value: object) -> None:
    said = ""
    try:
        compile(text, WHERE).render({"a": value, "b": value, "ab": value})
    except GraftError as error:
        said = error.message
    assert said == "" or said.startswith(WHERE)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ('a' * 2000000000) | length }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
        "{{ ticket | indent(1000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ range(99999) | join(ticket) }}",
        "{% set n = namespace(s=ticket) %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s | length }}",
    ],
)
def test_endless_work_and_endless_text_end_at_once(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidInput, match="too much"):
        compile(text, WHERE).render({"ticket": "a\n" * 500})
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ ticket.__class__ }}", "__class__"),
        ("{{ ticket | attr('__class__') }}", "undefined"),
        ("{{ [].__class__.__mro__ }}", "__class__"),
        ("{{ range.__globals__ }}", "undefined"),
        ("{{ ticket.upper() }}", "no method named upper"),
        ("{{ debug() }}", "debug is unknown"),
        ("{% include '/etc/passwd' %}", "cannot load another"),
        ("{% import 'x' as y %}", "cannot load another"),
        ("{% macro f(a) %}{{ f(a) }}{% endmacro %}{{ f(1) }}", "recursion limit"),
        ("{{ row.a }}", "row.a"),
        ("{{ nobody }}", "nobody"),
        ("{{ ticket | nosuch }}", "nosuch"),
    ],
)
def test_nothing_but_the_values_can_be_reached(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as raised:
        compile(text, WHERE).render({"ticket": "a", "row": {}})
    assert raised.value.param == WHERE


@pytest.mark.parametrize("text", ["{{ ticket", "one\n{% if ticket %}", "{{ a b }}", "{{ " + "(" * 5000 + " }}", "lone \ud800"])
def test_what_is_no_template_is_refused_when_it_is_compiled(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^messages\[1\]\.content"):
        compile(text, WHERE)


def test_an_error_in_a_long_text_names_the_line() -> None:
    with pytest.raises(InvalidInput, match="line 2: `tiket` is undefined"):
        compile("one\n{{ tiket }}\n", WHERE).render({})


def test_threads_may_share_a_template() -> None:
    template = compile("{% for i in range(50) %}{{ x }}{% endfor %}", WHERE)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: template.render({"x": n}), range(400))) == [str(n) * 50 for n in range(400)]


INPUTS = parse_inputs(
    {
        "ticket": {"type": "string", "max_chars": 20},
        "tone": {"enum": ["plain", "warm"], "default": "plain"},
        "count": "integer",
        "labels": {"type": "array", "default": ["a"]},
        "note": {"type": "string", "default": None},
    },
    "inputs",
)


def test_defaults_fill_in_what_is_not_said() -> None:
    filled = {"ticket": "late", "tone": "plain", "count": 2, "labels": ["a"], "note": None}
    assert checked(INPUTS, {"ticket": "late", "count": 2}) == filled
    assert checked(INPUTS, {"ticket": "late", "count": 2, "note": None, "tone": "warm"}) == filled | {"tone": "warm"}


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidInput) as raised:
        checked(INPUTS, {"tiket": "x", "count": "two", "tone": "wram", "labels": [object()]})
    assert raised.value.param == "variables"
    for words in (
        "'ticket' is missing",
        "'tiket' is not an input of this prompt; did you mean 'ticket'?",
        "'count' must be an integer, not 'two'",
        "'tone' must be one of plain, warm, not 'wram'; did you mean 'warm'?",
        "'labels' must be an array",
    ):
        assert words in raised.value.message
    with pytest.raises(InvalidInput, match="21 characters, more than the 20 allowed"):
        checked(INPUTS, {"ticket": "x" * 21, "count": 1})
    with pytest.raises(InvalidInput, match="it has none"):
        checked({}, {"x": 1})


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("string", "1", 1),
        ("integer", 1, 1.5),
        ("number", 1.5, float("nan")),
        ("boolean", True, 1),
        ("integer", 0, False),
        ("array", [1, {"a": None}], (1,)),
        ("object", {"a": [1]}, {1: "a"}),
    ],
)
def test_types_are_json_types(kind: str, right: object, wrong: object) -> None:
    inputs = parse_inputs({"x": kind}, "inputs")
    assert checked(inputs, {"x": right}) == {"x": right}
    with pytest.raises(InvalidInput, match=f"'x' must be an? {kind}"):
        checked(inputs, {"x": wrong})


@given(JSON)
def test_all_that_json_can_hold_is_plain(value: object) -> None:
    assert is_plain(value)
    assert not is_plain([{"deep": [value, object()]}])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (["ticket"], "inputs: must be a table"),
        ({"x": {"typ": "string"}}, "inputs.x: an input has no 'typ'; did you mean 'type'"),
        ({"x": "text"}, "inputs.x.type: must be one of string"),
        ({"x": {"type": "integer", "max_chars": 3}}, "inputs.x.max_chars"),
        ({"x": {"enum": "ab"}}, "inputs.x.enum: must be a list"),
        ({"x": {"type": "integer", "default": "1"}}, "inputs.x.default: '1' must be an integer"),
        ({"x": {"type": "integer", "enum": [1, "2"]}}, "inputs.x.enum: '2' must be an integer"),
        ({"x": {"enum": ["a"], "default": "b"}}, "inputs.x.default: 'b' must be one of a"),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused_with_their_place(raw: object, words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace("[", r"\[")):
        parse_inputs(raw, "inputs")
