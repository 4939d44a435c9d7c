"""HTML as the text a reader sees, by its headings. The one door to selectolax.

Scripts, styles and drawings are dropped; blocks become lines, items get a dash, cells a tab. Nothing is fetched.
"""

from __future__ import annotations

import codecs
import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from adapters.retrieval.parsing.contract import Document, Section, unreadable
from adapters.retrieval.parsing.markdown import sections
from adapters.retrieval.parsing.plain import decoded

UNSEEN = {"script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "head", "select", "button"}
HEADINGS = {f"h{level}": level for level in range(1, 7)}
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tr", "ul",
    *HEADINGS,
}  # fmt: skip
APART = {"p", "pre", "ul", "ol", "table", "blockquote", *HEADINGS}
"""Blocks with a blank line around them, where a passage is best cut."""
CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w-]{1,40})", re.IGNORECASE)


def parse(raw: bytes, filename: str) -> Document:
    tree = LexborHTMLParser(_decoded(raw, filename))
    title = tree.css_first("title")
    name = " ".join(title.text().split()) if title is not None else ""
    if tree.body is None:
        raise unreadable(filename, "there is no text in it")
    writer = _Writer()
    writer.walk(tree.body)
    text = "".join(writer.pieces).rstrip()
    found = sections(text, writer.headings)
    return Document(text, tuple(Section(part.heading or name, part.start, part.end) for part in found))


def _decoded(raw: bytes, filename: str) -> str:
    said = CHARSET.search(raw, 0, 4096)
    encoding = said[1].decode().lower() if said else "utf-8"
    try:
        codecs.lookup(encoding)
        if encoding.replace("-", "") != "utf8":
            return raw.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        raise unreadable(filename, f"it says it is {encoding}, which it is not; save the file as UTF-8") from None
    return decoded(raw, filename)


class _Writer:
    """What is seen so far, with as many line ends as the blocks ask for, and where its headings stand."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.headings: list[tuple[int, int, int, str]] = []
        self._length, self._lines, self._space, self._kept = 0, 0, False, 0
        self._began: list[tuple[int, int]] = []

    def walk(self, root: LexborNode) -> None:
        # by hand, not by recursion: a page may nest deeper than Python calls
        node: LexborNode | None = root
        while node is not None:
            down = None
            if node.is_text_node:
                self._text(node.text_content or "")
            elif node.is_element_node and node.tag not in UNSEEN:
                self._open(node.tag or "")
                down = node.first_child
                if down is None:
                    self._close(node.tag or "")
            while down is None and node is not None:
                if node.mem_id == root.mem_id:
                    return
                if node.next is not None:
                    down = node.next
                else:
                    node = node.parent
                    if node is not None:
                        self._close(node.tag or "")
            node = down

    def _open(self, tag: str) -> None:
        if tag == "br":
            self._lines = max(self._lines, 1)
        if tag in BLOCKS:
            self._lines = max(self._lines, 2 if tag in APART else 1)
        if tag == "li":
            self._write("- ")
        if tag == "pre":
            self._kept += 1
        if tag in HEADINGS:
            self._began.append((self._length, len(self.pieces)))

    def _close(self, tag: str) -> None:
        if tag in HEADINGS and self._began:
            start, piece = self._began.pop()
            said = "".join(self.pieces[piece:])
            if said.strip():
                begin = start + len(said) - len(said.lstrip())
                self.headings.append((begin, self._length, HEADINGS[tag], " ".join(said.split())))
        if tag == "pre":
            self._kept -= 1
        if tag in ("td", "th"):
            self._write("\t")
        if tag in BLOCKS:
            self._lines = max(self._lines, 2 if tag in APART else 1)

    def _text(self, text: str) -> None:
        if self._kept:
            self._write(text.strip("\n"))
            return
        words = text.split()
        if not words:
            self._space = self._space or bool(text)
            return
        before = " " if (self._space or text[0].isspace()) and not self._lines and self._length else ""
        self._write(before + " ".join(words))
        self._space = text[-1].isspace()

    def _write(self, text: str) -> None:
        if text and text != "\t":
            if self._lines and self._length:
                self.pieces.append("\n" * self._lines)
                self._length += self._lines
            self._lines = 0
        self._space = False
        self.pieces.append(text)
        self._length += len(text)
