"""Candidates tried on validation rows: asked once each, scored beside each other, priced in tokens, and one of them taken.

What was answered lies in the run's folder and is not asked again. Knows neither shots nor documents: what a candidate puts
around a row is its own affair.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.conversation import Example, WireMessage, wire
from adapters.data.batches import common_start
from adapters.data.tokens import prompt_ids
from adapters.evaluation.metrics import METRICS, primary
from adapters.evaluation.scorecard import Mean, paired
from adapters.methods.contract import Asked, Choosing
from adapters.prompts import render

ANSWERS = "answers.jsonl"
FIRST_ROWS = 16
"""All candidates of a stage are asked these; the better half of them goes on to the rest (successive halving, Jamieson and
Talwalkar, 2016, arXiv 1502.07943)."""
ASKED_AT_ONCE = 16
CACHED_PRICE = 0.1
"""Of a prompt's token that an engine's prefix cache holds, beside one that is computed; hosted APIs sell them at a tenth to
a half."""


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    """For people."""
    asked: Callable[[Sequence[Example]], list[Asked]]
    choices: tuple[str, ...] = ()
    of: Any = None
    """What the fitter that made it needs to make it the result."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate on the first `len(values)` of the rows."""

    candidate: Candidate
    values: list[float]
    """By row, 0 to 1."""
    answers: list[str]
    prompt_tokens: float
    """A question, on average."""
    new_tokens: float
    """Of these, what does not stand at the start of every prompt, so that no prefix cache holds it."""
    seconds: float

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def price(self) -> float:
        """Tokens a question, those that are cached at their share."""
        return self.new_tokens + CACHED_PRICE * (self.prompt_tokens - self.new_tokens)


class Trials:
    """The trials of one run, on at most `rows` of its validation rows."""

    def __init__(self, choosing: Choosing, rows: int) -> None:
        self._choosing, self._rows = choosing, list(choosing.validation[:rows])
        self.metric = primary([row.answer for row in self._rows])
        self.made: dict[str, Trial] = {}
        """The last of each candidate, by its name."""
        self._answers = _Answers(choosing.progress.folder / ANSWERS)
        self._planned, self._done, self._started = 0, 0, time.monotonic()

    @property
    def n(self) -> int:
        return len(self._rows)

    def stage(self, candidates: Sequence[Candidate], later: Sequence[int] = ()) -> list[Trial]:
        """Tries them, those that were tried before aside, and the better half on all rows. Returns those that were tried on
        all rows, best first. `later`: how many candidates the stages to come will have, for the time that is left."""
        fresh = [one for one in candidates if one.name not in self.made]
        self._planned = self._done + sum(self._asked_of(count) for count in (len(fresh), *later))
        tried = ranked([self._try(one, min(FIRST_ROWS, self.n)) for one in fresh])
        for trial in tried[: _going_on(len(tried))]:
            self._try(trial.candidate, self.n)
        return ranked([self.made[one.name] for one in candidates if len(self.made[one.name].values) == self.n])

    def _asked_of(self, count: int) -> int:
        first = min(FIRST_ROWS, self.n)
        return count * first + min(count, _going_on(count)) * (self.n - first)

    def _try(self, candidate: Candidate, rows: int) -> Trial:
        choosing, started = self._choosing, time.monotonic()
        asked = candidate.asked(self._rows[:rows])
        said = [render(one.template, wire(one.example.prompt)) for one in asked]
        ids = [prompt_ids(choosing.ground.tokenizer, messages) for messages in said]
        answers = self._complete(said, ids, candidate.choices)
        rate = METRICS[self.metric]
        values = [rate(answer, row.answer) for answer, row in zip(answers, self._rows, strict=False)]
        total = sum(map(len, ids)) / len(ids)
        before = self.made.get(candidate.name)
        seconds = time.monotonic() - started + (before.seconds if before else 0.0)
        trial = Trial(candidate, values, answers, total, total - common_start(ids), round(seconds, 2))
        self._done += rows - (len(before.values) if before else 0)
        self.made[candidate.name] = trial
        self._say(trial)
        return trial

    def _complete(self, said: Sequence[list[WireMessage]], ids: Sequence[list[int]], choices: tuple[str, ...]) -> list[str]:
        keys = [_key(row, choices) for row in ids]
        open_ = [at for at, key in enumerate(keys) if key not in self._answers.known]
        for start in range(0, len(open_), ASKED_AT_ONCE):
            self._choosing.progress.raise_if_stopped()
            some = open_[start : start + ASKED_AT_ONCE]
            answers = self._choosing.complete([said[at] for at in some], choices)
            self._answers.add({keys[at]: answer for at, answer in zip(some, answers, strict=True)})
        return [self._answers.known[key] for key in keys]

    def _say(self, trial: Trial) -> None:
        passed, left = time.monotonic() - self._started, max(0, self._planned - self._done)
        self._choosing.progress.event(
            "candidate", name=trial.candidate.name, n=len(trial.values), mean=round(trial.mean, 4),
            prompt_tokens=round(trial.prompt_tokens, 1), new_tokens=round(trial.new_tokens, 1), seconds=trial.seconds,
            at=self._done, of=max(self._planned, self._done), seconds_left=round(passed / max(1, self._done) * left, 1),
        )  # fmt: skip


class _Answers:
    """What was answered, by a digest of what was asked, in a file that only grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.known: dict[str, str] = {}
        if file.is_file():
            whole = file.read_bytes().rpartition(b"\n")[0]  # a kill can tear the last line
            self.known = {line["asked"]: line["answer"] for line in map(json.loads, whole.splitlines())}
            with file.open("rb+") as torn:
                torn.truncate(len(whole) + 1 if whole else 0)

    def add(self, answers: dict[str, str]) -> None:
        self.known |= answers
        with self._file.open("a") as file:
            file.writelines(json.dumps({"asked": asked, "answer": answer}) + "\n" for asked, answer in answers.items())
            file.flush()
            os.fsync(file.fileno())


def _going_on(count: int) -> int:
    return max(2, math.ceil(count / 2))


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Best first; of equal ones, the cheaper."""
    return sorted(trials, key=lambda trial: (-trial.mean, trial.price))


def decide(trials: Sequence[Trial], rows: int, seed: int) -> tuple[Trial, dict[str, Mean]]:
    """The cheapest of those within one standard error of the best, and each trial's paired difference to the best.

    Within one: asked all rows, and the mean of the paired differences is no further below 0 than their standard error
    (Breiman et al., 1984, section 3.4.3). Of equally cheap ones, the better.
    """
    whole = [trial for trial in trials if len(trial.values) == rows]
    best = ranked(whole)[0]
    apart = {trial.candidate.name: _apart(trial, best) for trial in trials}
    differences = {name: paired(values, [1] * len(values), seed) for name, values in apart.items()}
    tied = [trial for trial in whole if _is_within_one_error(apart[trial.candidate.name])]
    return min(tied, key=lambda trial: (round(trial.price, 6), -trial.mean)), differences


def _apart(trial: Trial, best: Trial) -> list[float]:
    """Row by row, of the rows that the trial was asked."""
    return [one - other for one, other in zip(trial.values, best.values, strict=False)]


def _is_within_one_error(differences: Sequence[float]) -> bool:
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return statistics.fmean(differences) >= -error


def _key(ids: Sequence[int], choices: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([list(ids), list(choices)]).encode()).hexdigest()[:32]
