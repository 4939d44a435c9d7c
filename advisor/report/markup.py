"""HTML and SVG as function calls: what is not markup already is escaped, so no text of the data can become part of a page.

Knows no advice.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta"})
Child = object
"""Markup, or text, or an iterable of them; None is left out."""


class Markup(str):
    """Text that is HTML, with everything in it escaped that had to be."""

    __slots__ = ()


def element(tag: str, *children: Child, **attributes: object) -> Markup:
    """`class_="x"` is written class="x", `stroke_width` stroke-width; an attribute that is None is left out."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_attribute(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{said}>" if tag in VOID else f"<{tag}{said}>{together(children)}</{tag}>")


def together(children: Child) -> Markup:
    if isinstance(children, Markup):
        return children
    if children is None:
        return Markup("")
    if isinstance(children, Iterable) and not isinstance(children, str):
        return Markup("".join(together(child) for child in children))
    return Markup(escape(str(children)))


def _attribute(value: object) -> str:
    """Lengths to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
