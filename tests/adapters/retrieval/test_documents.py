"""Files of every kind become text with headings, or say why they cannot."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import InvalidInput
from adapters.retrieval.documents import read_document
from adapters.retrieval.parsing import markdown, office
from adapters.retrieval.parsing.contract import Document
from adapters.retrieval.parsing.table import PARSERS


def read(folder: Path, filename: str, content: str | bytes) -> Document:
    path = folder / "given"  # where it lies says nothing of what it is
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_document(path, filename)


def parts(document: Document) -> list[tuple[str, str]]:
    return [(part.heading, document.text[part.start : part.end].strip()) for part in document.sections]


def test_markdown_is_named_by_the_way_to_each_heading(tmp_path: Path) -> None:
    said = """Before.

# Guide #

Welcome.

## Install

```sh
# no heading
```

### On Windows
Click.

Fees
----
None.

- a list
---
#hashtag
"""
    assert parts(read(tmp_path, "a.md", said)) == [
        ("", "Before."),
        ("Guide", "# Guide #\n\nWelcome."),
        ("Guide > Install", "## Install\n\n```sh\n# no heading\n```"),
        ("Guide > Install > On Windows", "### On Windows\nClick."),
        ("Guide > Fees", "Fees\n----\nNone.\n\n- a list\n---\n#hashtag"),
    ]


@pytest.mark.parametrize(
    ("line", "title"),
    [("# A #", "A"), ("## A ## ##", "A ##"), ("# C#", "C#"), ("###", ""), ("# #", ""), ("   # A", "A"), ("#\tA \t", "A")],
)
def test_hashes_may_close_a_heading(tmp_path: Path, line: str, title: str) -> None:
    assert parts(read(tmp_path, "a.md", f"{line}\ntext"))[0][0] == title


def test_a_heading_over_nothing_opens_what_comes_next(tmp_path: Path) -> None:
    assert parts(read(tmp_path, "a.md", "# Guide\n\n## Install\n\nClick.\n\n## Empty")) == [
        ("Guide > Install", "# Guide\n\n## Install\n\nClick."),
        ("Guide > Empty", "## Empty"),
    ]
    assert parts(read(tmp_path, "a.md", "---\ntitle: x\n---\n# Guide\nText.")) == [
        ("", "---\ntitle: x\n---"),
        ("Guide", "# Guide\nText."),
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["# A", "## B", "### ", "text", "", "```", "~~~~", "---", "===", "- x", "    code"]), max_size=20)
)
def test_every_line_of_markdown_lies_in_a_section(lines: list[str]) -> None:
    document = markdown.parse("\n".join(lines).encode(), "a.md")
    at = 0
    for part in document.sections:
        assert part.start >= at
        assert not document.text[at : part.start].strip()
        at = part.end
    assert not document.text[at:].strip()


def test_html_is_what_its_reader_sees(tmp_path: Path) -> None:
    page = """<html><head><title>Shop</title><style>p {}</style></head><body>Hel<b>lo</b> there
    <script>steal()</script><h1>Our  <i>terms</i></h1><p>Send it
    back.<p>Soon.<ul><li>one</li><li>two</li></ul><h2>Fees</h2><pre>a
  b</pre><table><tr><td>1</td><td>2</td></tr></table></body></html>"""
    assert parts(read(tmp_path, "a.html", page)) == [
        ("Shop", "Hello there"),
        ("Our terms", "Our terms\n\nSend it back.\n\nSoon.\n\n- one\n- two"),
        ("Our terms > Fees", "Fees\n\na\n  b\n\n1\t2"),
    ]


def test_html_may_nest_deeper_than_python_calls_and_be_of_its_own_encoding(tmp_path: Path) -> None:
    assert read(tmp_path, "a.html", "<div>" * 20_000 + "deep").text == "deep"
    assert read(tmp_path, "a.html", '<meta charset="windows-1252"><p>caf\xe9'.encode("cp1252")).text == "café"


def test_rows_of_tables_are_lines_of_column_and_value(tmp_path: Path) -> None:
    assert parts(read(tmp_path, "a.csv", 'question,answer\nHow?,"So, \n\nyes"\nWhy?,,more\n')) == [
        ("", "question: How?\nanswer: So, \nyes"),
        ("", "question: Why?\ncolumn 3: more"),
    ]
    assert parts(read(tmp_path, "a.csv", "a;b\n1;2")) == parts(read(tmp_path, "a.tsv", "a\tb\n1\t2")) == [("", "a: 1\nb: 2")]


def test_records_stand_under_their_title(tmp_path: Path) -> None:
    rows = '{"title": "Size", "text": "It runs small."}\n\n{"id": 7, "tags": ["a", "b"], "by": {"name": "Orla", "no": null}}\n'
    said = [("Size", "Size\nIt runs small."), ("", "id: 7\ntags: a, b\nby.name: Orla")]
    assert parts(read(tmp_path, "a.jsonl", rows)) == said
    assert parts(read(tmp_path, "a.json", f"[{','.join(rows.split(chr(10) * 2))}]")) == said
    assert parts(read(tmp_path, "a.json", '{"half a character": "\\ud800"}')) == [("", "?")]


def pdf(*pages: str, password: str | None = None) -> bytes:
    writer = pypdf.PdfWriter()
    for said in pages:
        page = writer.add_blank_page(300, 300)
        font = pypdf.generic.DictionaryObject({
            pypdf.generic.NameObject("/Type"): pypdf.generic.NameObject("/Font"),
            pypdf.generic.NameObject("/Subtype"): pypdf.generic.NameObject("/Type1"),
            pypdf.generic.NameObject("/BaseFont"): pypdf.generic.NameObject("/Helvetica"),
        })  # fmt: skip
        page[pypdf.generic.NameObject("/Resources")] = pypdf.generic.DictionaryObject({
            pypdf.generic.NameObject("/Font"): pypdf.generic.DictionaryObject({pypdf.generic.NameObject("/F1"): font})
        })  # fmt: skip
        stream = pypdf.generic.DecodedStreamObject()
        lines = " T* ".join(f"({line}) Tj" for line in said.splitlines())
        stream.set_data(f"BT /F1 12 Tf 14 TL 20 200 Td {lines} ET".encode())
        page[pypdf.generic.NameObject("/Contents")] = writer._add_object(stream)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def test_pages_of_a_pdf_are_named_and_divided_words_are_whole(tmp_path: Path) -> None:
    said = read(tmp_path, "a.pdf", pdf("The mill stands\nby the har-\nbour.", "", "Kept by Orla."))
    assert parts(said) == [("page 1", "The mill stands\nby the harbour."), ("page 3", "Kept by Orla.")]


@pytest.mark.parametrize(
    ("filename", "content", "reason"),
    [
        ("a.txt", b" \n", "it is empty"),
        ("a.txt", b"fine\n\xff\n", "line 2 is not UTF-8"),
        ("a.md", b"fine\0\n", "binary data"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0", "binary data"),
        ("a.html", b"<script>only()</script>", "no text in it"),
        ("a.html", b'<meta charset="klingon">x', "says it is klingon"),
        ("a.csv", b"a,b\n", "no row under"),
        ("a.json", b'{\n"a": }', "line 2 is not JSON"),
        ("a.json", b"[" * 100_000, "not JSON that can be read"),
        ("a.jsonl", b'{"a": 1}\n\nnope\n', "line 3 is not JSON"),
        ("a.pdf", pdf("text")[:200], "damaged, or no PDF"),
        ("a.pdf", b"%PDF-1.4 only said so", "damaged, or no PDF"),
        ("a.pdf", pdf("", ""), "hold no text"),
        ("a.pdf", pdf("secret", password="x"), "locked by a password"),
        ("a.docx", b"PK", r"damaged, or no \.docx"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, filename: str, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as raised:
        read(tmp_path, filename, content)
    assert raised.value.code == "unreadable_document"
    assert filename in raised.value.message


def test_office_files_ask_for_their_extra_and_may_not_unpack_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"\0" * (1 << 20))
    monkeypatch.setitem(sys.modules, "markitdown", None)
    with pytest.raises(InvalidInput, match=r"pip install 'graft-llm\[docs\]'"):
        read(tmp_path, "a.docx", made.getvalue())
    monkeypatch.setattr(office, "MOST_BYTES", 1000)
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        read(tmp_path, "a.docx", made.getvalue())


def test_text_says_by_its_mark_how_it_is_written(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert read(tmp_path, "a.txt", "naïve 東京\r\n".encode(encoding)).text == "naïve 東京\r\n"


def test_text_of_an_unknown_kind_is_read_as_text(tmp_path: Path) -> None:
    assert read(tmp_path, "Makefile", "all:\n\ttrue\n").text == "all:\n\ttrue\n"
    assert read(tmp_path, "a.strange", "some text").text == "some text"


@pytest.mark.parametrize("suffix", sorted(PARSERS))
@settings(max_examples=15, deadline=None)
@given(raw=st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_text_or_a_reason(suffix: str, raw: bytes) -> None:
    try:
        document = PARSERS[suffix](raw, f"a{suffix}")
    except InvalidInput as error:
        document, code = None, error.code
    assert code == "unreadable_document" if document is None else _is_sound(document)


def _is_sound(document: Document) -> bool:
    return all(0 <= part.start <= part.end <= len(document.text) for part in document.sections)
