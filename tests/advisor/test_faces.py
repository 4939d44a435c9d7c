"""The faces of an advice: a page that fetches nothing and escapes all text, charts that are right, 80 columns of terminal."""

from __future__ import annotations

import io
import itertools
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.errors import InvalidInput
from adapters.tuning.shapes import typical_shape
from advisor import __main__ as program
from advisor import ahead, sizes
from advisor.advice import Advice, advise, from_numbers
from advisor.curves import FARTHEST
from advisor.evidence import Evidence
from advisor.plan import Names
from advisor.report import charts, page, plot, terminal, wording, writing
from advisor.report.markup import Markup, element
from advisor.stated import FIELDS, Stated

HOSTILE = '<script>alert(1)</script><img src=http://evil.example onerror="x">'


@pytest.fixture(scope="module")
def advice() -> Advice:
    stated = Stated(
        n_examples=400, task_type="classification", n_classes=8, params_b=8.0, gpu="h100", base_score=0.5, domain_shift=0.3,
    )  # fmt: skip
    measured = [
        Evidence("domain_shift", 0.3, "share", "measured", 300, (0.25, 0.35)),
        Evidence("domain_shift_null", 0.02, "share", "two halves of everyday text", 100, (0.0, 0.05)),
        Evidence("bits_per_byte", 1.9, "bits", "loss of the base", 60, (1.8, 2.0)),
        Evidence("bits_per_byte_reference", 1.2, "bits", "loss on everyday text", 60, (1.1, 1.3)),
    ]
    return advise([*stated.evidence(), *measured], facts=typical_shape(8.0), names=Names("rows.jsonl", "eight"))


@pytest.fixture(scope="module")
def shown(advice: Advice) -> LexborHTMLParser:
    return LexborHTMLParser(page.page(advice))


def chart(shown: LexborHTMLParser, title: str) -> LexborNode:
    return next(one for one in shown.css("svg") if (named := one.css_first("title")) is not None and named.text() == title)


def at(node: LexborNode, name: str) -> float:
    value = node.attributes[name]
    assert value is not None
    return float(value)


def words(node: LexborNode) -> set[str]:
    return {one.text() for one in node.css("text")}


# --- the page


def test_the_page_asks_for_nothing_and_runs_nothing(advice: Advice, shown: LexborHTMLParser) -> None:
    for node in shown.css("*"):
        assert not {"src", "href", "xlink:href", "srcset", "action"} & set(node.attributes), node.tag
        assert not any(name.startswith("on") for name in node.attributes), node.tag
    assert shown.css("script, link, img, iframe, object, embed") == []
    style = "".join(one.text() for one in shown.css("style"))
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert "http" not in re.sub(r"http-equiv", "", page.page(advice))
    policy = shown.css_first("meta[http-equiv]")
    assert policy is not None
    assert policy.attributes["content"] == page.POLICY


def test_hostile_text_is_shown_and_is_no_markup() -> None:
    stated = Stated(n_examples=400, params_b=1.0, gpu_gib=24.0).evidence()
    hostile = [Evidence("language", HOSTILE, "", HOSTILE, 3), Evidence(HOSTILE, 0.5, "share", "measured")]
    made = page.page(advise([*stated, *hostile], names=Names(f"{HOSTILE}.jsonl", HOSTILE, HOSTILE)))
    shown = LexborHTMLParser(made)
    assert shown.css("script, img") == []
    assert made.count("<script") == 0
    body = shown.body
    assert body is not None
    assert body.text().count("alert(1)") >= 4, "in the table twice, as a name, and in the command"


def test_markup_escapes_children_and_attributes() -> None:
    made = element("p", "a < b & c", [element("b", '"x"'), None], title='"><script>', class_="one", stroke_width=2.0)
    assert made == ('<p title="&quot;&gt;&lt;script&gt;" class="one" stroke-width="2">a &lt; b &amp; c<b>&quot;x&quot;</b></p>')
    assert element("p", Markup("<i>as it is</i>")) == "<p><i>as it is</i></p>"


def test_the_page_says_all_that_the_advice_says(advice: Advice, shown: LexborHTMLParser) -> None:
    body = shown.body
    assert body is not None
    said = body.text()
    heading = shown.css_first("h1")
    assert heading is not None
    assert heading.text() == f"Advised: {advice.method}"
    for one in advice.ranking:
        assert all(reason in said for reason in (*one.reasons, *one.risks))
    for sentence in (*advice.would_change_if, *advice.says, *advice.plan["commands"]):
        assert sentence in said
    for evidence in advice.evidence:
        assert evidence.name in said
        assert evidence.how in said


# --- the charts


def test_quality_against_cost_shows_every_method_that_can_be_advised(advice: Advice, shown: LexborHTMLParser) -> None:
    drawn = chart(shown, "Quality against cost")
    costs = {one.method: charts.whole_cost(one, 10_000, True) for one in advice.ranking if not one.barred and one.fits}
    dots = {
        text.split(":")[0]: dot for dot in drawn.css("g.dot") if (title := dot.css_first("title")) and (text := title.text())
    }
    assert set(dots) == {method for method, cost in costs.items() if cost is not None}
    places = {}
    for method, dot in dots.items():
        circle, reach = dot.css_first("circle"), dot.css_first("line")
        assert circle is not None
        assert reach is not None
        x, y = at(circle, "cx"), at(circle, "cy")
        assert plot.LEFT <= x <= plot.RIGHT
        assert plot.TOP <= at(reach, "y2") <= y <= at(reach, "y1") <= plot.BOTTOM
        places[method] = x
    by_cost = sorted(dots, key=lambda method: costs[method] or 0.0)
    assert [places[method] for method in by_cost] == sorted(places.values()), "dearer is further right"
    best = next(one for one in advice.ranking if one.method == advice.method)
    circle = dots[best.method].css_first("circle")
    assert circle is not None
    assert at(circle, "cy") == pytest.approx(plot.BOTTOM - best.quality.mean * (plot.BOTTOM - plot.TOP), abs=0.1)
    assert {"score (exact_match)", "US dollars to make it and answer 10,000 requests", "0", "1"} <= words(drawn)


def test_without_a_price_the_cost_is_time_and_without_a_base_a_sentence() -> None:
    timed = charts.quality_and_cost(from_numbers(Stated(n_examples=300, params_b=1.0, gpu_gib=24.0)))
    assert "seconds of the machine to make it" in timed
    assert not charts.quality_and_cost(from_numbers(Stated(n_examples=300))).startswith("<svg")


def test_curves_go_from_an_eighth_to_eight_times_the_rows(advice: Advice, shown: LexborHTMLParser) -> None:
    drawn = chart(shown, "What more rows would bring")
    assert {"50", "400", "3,200", "400 rows now", "rows", "score (exact_match)"} <= words(drawn)
    now = drawn.css_first("line.now")
    assert now is not None
    lines = drawn.css("polyline")
    assert len(lines) == charts.CURVES
    for line in lines:
        points = [tuple(map(float, pair.split(","))) for pair in (line.attributes["points"] or "").split()]
        assert len(points) == 7
        assert all(plot.LEFT <= x <= plot.RIGHT and plot.TOP <= y <= plot.BOTTOM for x, y in points)
        assert points[3][0] == pytest.approx(at(now, "x1"), abs=0.1), "the present number of rows is the middle one"


def test_what_is_foretold_at_the_present_rows_is_what_the_ranking_says(advice: Advice) -> None:
    curves = ahead.by_rows(advice)
    for one in advice.ranking:
        here = next(at for at in curves[one.method] if at.rows == 400)
        assert here.score == pytest.approx(one.quality.mean)
        assert max(at.rows for at in curves[one.method]) <= FARTHEST * 400
    assert ahead.by_rows(from_numbers(Stated(domain_shift=0.2))) == {}


def test_each_measure_of_shift_stands_beside_what_everyday_text_gives(shown: LexborHTMLParser) -> None:
    drawn = chart(shown, "How far the data is from everyday text")
    assert {"domain_shift", "bits_per_byte", "0.3; everyday text 0 to 0.05", "1.9; everyday text 1.1 to 1.3"} <= words(drawn)
    for null, dot in zip(drawn.css("rect.null"), drawn.css("g.dot circle"), strict=True):
        assert at(null, "x") + at(null, "width") < at(dot, "cx"), "both measures lie beyond their null"


def test_memory_is_drawn_against_the_machine(advice: Advice, shown: LexborHTMLParser) -> None:
    drawn = chart(shown, "Memory by method")
    line = drawn.css_first("line.now")
    assert line is not None
    for one, bar in zip(advice.ranking, drawn.css("rect"), strict=True):
        end = at(bar, "x") + at(bar, "width")
        assert (end <= at(line, "x1")) == one.fits
        assert bar.attributes["class"] == ("fits" if one.fits else "beyond")
    assert "79.6 GiB there are" in words(drawn)
    assert any(not one.fits for one in advice.ranking)


def test_labels_do_not_lie_on_each_other() -> None:
    places = plot.spread([100.0, 100.0, 101.0, 280.0, 291.0, 292.0], 14.0, 292.0)
    assert places == sorted(places)
    assert all(below - above >= plot.LABEL_HEIGHT - 1e-9 for above, below in itertools.pairwise(places))
    assert places[0] == 100.0
    assert places[-1] == 292.0


def test_axes_have_round_ticks_within_their_ends() -> None:
    assert plot.Axis(0.0, 1.0, 0.0, 100.0).ticks() == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert plot.Axis(0.02, 500.0, 0.0, 100.0, is_log=True).ticks() == [0.1, 1.0, 10.0, 100.0]
    assert plot.Axis(1.0, 9.0, 0.0, 100.0, is_log=True).ticks() == [1.0, 2.0, 5.0]
    assert plot.Axis(1.0, 100.0, 0.0, 100.0, is_log=True).at(10.0) == pytest.approx(50.0)
    with pytest.raises(ValueError, match="no axis"):
        plot.Axis(0.0, 1.0, 0.0, 1.0, is_log=True)
    assert [plot.amount(value) for value in (0.003, 50, 2000, 50_000, 2_000_000)] == ["0.003", "50", "2,000", "50k", "2M"]


# --- the file


def test_a_report_is_written_whole_or_not_at_all(advice: Advice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("before")
    writing.write(advice, file)
    assert file.read_text().startswith("<!doctype html>")
    with pytest.raises(InvalidInput, match="cannot be written"):
        writing.write(advice, tmp_path / "nowhere" / "report.html")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InvalidInput, match="No space left"):
        writing.write(advice, file)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


# --- the terminal


def printed(advice: Advice, width: int, *, terminal_colours: bool = False) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=terminal_colours)
    terminal.show(advice, console)
    said = console.file
    assert isinstance(said, io.StringIO)
    return said.getvalue()


def test_a_terminal_of_eighty_columns_holds_it_and_a_pipe_gets_plain_characters(advice: Advice) -> None:
    said = printed(advice, 80)
    commands = advice.plan["commands"]
    assert all(len(line.rstrip()) <= 80 for line in said.splitlines() if line.strip() not in commands)
    assert "\x1b" not in said
    assert "\x1b" in printed(advice, 80, terminal_colours=True)
    for one in advice.ranking:
        (line,) = (line for line in said.splitlines() if line.startswith(f"{one.method} ") and terminal.POINT in line)
        low, high = one.quality.interval
        assert f"{one.quality.mean:.2f}  {low:.2f}-{high:.2f}" in line
        assert f"{one.p_best:.0%}" in line
        assert terminal.interval_bar(low, one.quality.mean, high) in line
    for evidence in advice.evidence:
        if "." not in evidence.name:
            assert evidence.name in said


def test_a_wide_terminal_has_how_it_was_got_beside_each_number(advice: Advice) -> None:
    said = printed(advice, 160)
    assert re.search(r"^n_examples +400 rows +stated by the caller", said, re.MULTILINE)


def test_a_bar_shows_where_the_score_and_its_interval_lie() -> None:
    assert terminal.interval_bar(0.2, 0.5, 0.85, 10) == "··━━━●━━━·"
    assert terminal.interval_bar(0.0, 1.0, 1.0, 10) == "━━━━━━━━━●"


def test_sizes_are_told_with_what_fits() -> None:
    console = Console(width=80, file=io.StringIO())
    terminal.show_sizes(sizes.table(Stated(gpu="24GiB")), console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "of 24.0 there are" in said
    assert "✓" in said
    assert "✗" in said
    assert "71 B" in said


def test_numbers_are_told_in_units_that_can_be_read() -> None:
    assert [wording.duration(value) for value in (None, 0.04, 45, 90, 5400, 200_000)] == [
        "?",
        "<1 s",
        "45 s",
        "1.5 min",
        "1.5 h",
        "2.3 d",
    ]
    assert [wording.money(value) for value in (None, 0.0, 0.004, 0.5, 1234.5)] == ["?", "$0", "<1¢", "$0.50", "$1,234"]
    assert [wording.gib(value) for value in (None, 1.25, 148.5)] == ["?", "1.2 GiB", "148 GiB"]


# --- the program


def test_the_program_takes_every_fact_by_its_name_and_its_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        program.main(["--n", "250", "--shift", "0.4", "--classes", "5", "--gpu", "24GiB", "--profile", "cost", "--json"]) == 0
    )
    made = json.loads(capsys.readouterr().out)
    found = {one["name"]: one["value"] for one in made["evidence"]}
    assert (found["n_examples"], found["domain_shift"], found["n_classes"], found["gpu_gib"]) == (250, 0.4, 5, 24.0)
    assert made["profile"] == "cost"
    said = program.parser().format_help()
    assert all(f"--{name.replace('_', '-')}" in said for name in FIELDS)


@pytest.mark.parametrize(
    ("argv", "param"),
    [
        (["--n", "many"], "n_examples"), (["--n", "4", "--gpu", "voodoo2"], "gpu"), ([], "n_examples"),
        (["--n", "4", "--profile", "speed"], "profile"), (["--n", "4", "--html", "/nowhere/at/all.html"], "html"),
        (["--fits", "--gpu", "x"], "gpu"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line_that_names_it(argv: list[str], param: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([*argv, "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["param"] == param
    assert said.err.startswith("advisor: ")
    assert said.err.count("\n") == 1


def test_the_program_writes_a_report_and_a_table_of_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.html"
    assert program.main(["--n", "250", "--html", str(file)]) == 0
    assert "<svg" in file.read_text()
    capsys.readouterr()
    assert program.main(["--fits", "--gpu", "h100", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["gpu_gib"] == 79.6
    assert len(made["bases"]) == len(sizes.SIZES_B)
