"""Everything Graft refuses, as one tree; each error says what is wrong and what to do.

GraftError
├── InvalidInput      a value is wrong; `param` names the field
│   ├── DataError     a row of a data file is wrong; names file, line and field
│   │   └── DataErrors   several rows are; lists them all
│   └── WillNotFit    the work needs more memory than there is
├── NotFound          nothing has that name
├── Conflict          the state has moved on, or the name is taken
├── Unservable        an adapter that the engine would refuse, or would serve wrongly
│   └── Unproven      the engine has it, and does not serve what was trained
├── Unavailable       try again later; an engine is down or starting
│   ├── Overloaded    try again later; more wait already than may
│   └── EngineLost    an engine went away while it had a request, which another one may answer
└── Interrupted       a run was stopped from outside before it ended

Knows no HTTP and no terminal: `gateway/api/errors.py` and `gateway/cli/terminal.py` map the tree once each.
To add an error: subclass here, give it a `code`, add it to the drawing; both maps walk the tree.
"""

from __future__ import annotations

from collections.abc import Sequence


class GraftError(Exception):
    """The root. `code` is stable and machine-readable, the message is for people."""

    code = "graft_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidInput(GraftError):
    code = "invalid_value"


class DataError(InvalidInput):
    """A row that cannot be used. `line` counts from 1 in the file as an editor shows it."""

    code = "invalid_data"

    def __init__(self, message: str, *, path: str, line: int | None = None, field: str | None = None) -> None:
        where = path if line is None else f"{path}, line {line}"
        where = where if field is None else f"{where}, field '{field}'"
        super().__init__(f"{where}: {message}", param=field)
        self.path, self.line, self.field = path, line, field


class DataErrors(DataError):
    """Everything wrong with one file, so that it can be mended in one go. `total` counts also what is not listed."""

    def __init__(self, findings: Sequence[DataError], *, path: str, total: int | None = None) -> None:
        self.findings = tuple(findings)
        self.total = len(self.findings) if total is None else total
        first = self.findings[0]
        shown = f", the first {len(self.findings)}" if self.total > len(self.findings) else ""
        listed = "\n".join(f"  {finding.message}" for finding in self.findings)
        super().__init__(f"{self.total:,} things are wrong{shown}:\n{listed}", path=path)
        self.line, self.field, self.param = first.line, first.field, first.param


class WillNotFit(InvalidInput):
    code = "will_not_fit"


class NotFound(GraftError):
    code = "not_found"


class Conflict(GraftError):
    code = "conflict"


class Unservable(GraftError):
    code = "unservable_adapter"


class Unproven(Unservable):
    code = "adapter_not_proven"


class Unavailable(GraftError):
    """`retry_after_s` is a hint: seconds after which another try may work."""

    code = "engine_unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    code = "overloaded"


class EngineLost(Unavailable):
    pass


class Interrupted(GraftError):
    code = "interrupted"
