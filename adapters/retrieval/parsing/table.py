"""PARSERS: which kind of file has which parser, by the end of its name.

Knows no format itself. To add one: write `parse(raw, filename)` in a file beside this and give its endings rows here.
"""

from __future__ import annotations

from adapters.retrieval.parsing import html, markdown, office, pdf, plain, rows
from adapters.retrieval.parsing.contract import Parser

CODE = (
    ".bash .c .cc .cfg .clj .conf .cpp .cs .css .cxx .dart .diff .el .erl .ex .exs .f90 .go .gradle .graphql .groovy .h .hpp"
    " .hs .ini .java .jl .js .jsx .kt .less .lisp .lua .m .ml .mm .patch .php .pl .pm .properties .proto .ps1 .py .pyi .r .rb"
    " .rs .sass .scala .scm .scss .sh .sql .swift .tcl .tex .tf .toml .ts .tsx .v .vb .vue .xml .yaml .yml .zig .zsh"
)

PARSERS: dict[str, Parser] = {
    "": plain.parse,
    ".txt": plain.parse,
    ".text": plain.parse,
    ".log": plain.parse,
    ".rst": plain.parse,
    ".md": markdown.parse,
    ".markdown": markdown.parse,
    ".html": html.parse,
    ".htm": html.parse,
    ".xhtml": html.parse,
    ".csv": rows.parse_table,
    ".tsv": rows.parse_table,
    ".json": rows.parse_json,
    ".jsonl": rows.parse_lines,
    ".ndjson": rows.parse_lines,
    ".pdf": pdf.parse,
    ".docx": office.parse,
    ".pptx": office.parse,
    ".xlsx": office.parse,
    **dict.fromkeys(CODE.split(), plain.parse),
}
