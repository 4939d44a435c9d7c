"""rag: documents are searched with every question, and how is chosen on the user's own rows.

Size of a passage and weight of words by recall, how many by the base's answers, the least score by what it would silence;
then it is measured what the documents are worth. Knows no store: which one is searched is the run's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.adapted_model import RetrievalSpec, Sampling
from adapters.conversation import Example, wire
from adapters.data.dataset import Splits
from adapters.data.tokens import prompt_ids
from adapters.errors import InvalidInput
from adapters.evaluation import general
from adapters.evaluation.scorecard import sample
from adapters.methods.contract import Asked, Choosing, Fitted
from adapters.methods.retrieving import recall
from adapters.methods.retrieving.archive import Archive
from adapters.methods.retrieving.contexts import Shelf, as_learned, as_served, served
from adapters.methods.retrieving.recall import Question, Ranked
from adapters.methods.retrieving.triad import triad
from adapters.methods.trials import Candidate, Trials, decide
from adapters.prompts import question_of
from adapters.retrieval.chunks import Chunking
from adapters.retrieval.fusion import LEXICAL_WEIGHT
from adapters.tuning.recipe import Recipe

MOST_QUESTIONS = 400
"""That recall is measured on, drawn by seed: its 95 % interval is then at most 10 points wide."""
PASSAGE_TOKENS = 400
"""Of the base's, with the words around it: more than the longest size has in most tokenizers."""
UNNAMED = ""


class Rag:
    """`depths`: how many passages may be shown. `by_answers`: the base's answers decide how many, else recall does."""

    def __init__(self, depths: Sequence[int] = recall.DEPTHS, *, by_answers: bool = True) -> None:
        self._depths, self._by_answers = tuple(depths), by_answers

    def searches(self, recipe: Recipe) -> bool:
        return True

    def longest_prompt(self, recipe: Recipe, row_tokens: int) -> int:
        return row_tokens + self._depths[-1] * PASSAGE_TOKENS

    def fit(self, choosing: Choosing) -> Fitted:
        archive, recipe = Archive(choosing), choosing.ground.recipe
        chosen, report = _searched(archive, choosing)
        shelf = archive.shelf(chosen.cut)
        rows = choosing.validation[: recipe.fitting_rows]
        others = _other_questions(archive, chosen)
        specs = [_spec(chosen, passages, others, recipe) for passages in self._depths]
        fitting = [spec for spec in specs if _longest(choosing, shelf, spec, rows) <= choosing.prompt_tokens]
        if not fitting:
            raise InvalidInput(
                f"a question with its passages is longer than the {choosing.prompt_tokens} tokens there is room for; raise "
                "max_length, or take a base that reads more",
                param="max_length",
            )
        decided = _by_answers(choosing, shelf, chosen, fitting) if self._by_answers else _by_recall(chosen, fitting, recipe)
        spec, report["passages"] = decided
        report["passages"]["without_room"] = [one.passages for one in specs if one not in fitting]
        found = served(shelf, rows, spec)
        silent = recall.share([float(not keys) for keys in found])
        report["threshold"] = _threshold(chosen, spec, others) | {"rows_without_passages": silent}
        report["triad"] = triad(choosing, shelf, rows, found)
        name = f"{spec.passages} passages of at most {chosen.cut.chunking.max_tokens} tokens"
        choosing.progress.event("chosen", name=name, lexical_weight=spec.lexical_weight, min_score=spec.min_score)
        return Fitted(choosing.ground.template, Sampling(temperature=0.0), None, spec, report)

    def asked(self, fitted: Fitted, examples: Sequence[Example], choosing: Choosing) -> list[Asked]:
        shelf, spec = _reopened(fitted, choosing)
        return [Asked(example, fitted.template) for example in as_served(shelf, examples, spec)]

    def taught(self, fitted: Fitted, parts: Splits, choosing: Choosing) -> Splits:
        """The rows with passages: those that are learned from with distractors, the others with what is found for them."""
        shelf, spec = _reopened(fitted, choosing)
        recipe = choosing.ground.recipe
        learned = as_learned(shelf, parts.train, spec, without_gold_share=recipe.without_gold_share, seed=recipe.seed)
        watched, scored = (as_served(shelf, part, spec) for part in (parts.validation, parts.held_out))
        return Splits(tuple(learned), tuple(watched), tuple(scored))


def _searched(archive: Archive, choosing: Choosing) -> tuple[Ranked, dict[str, Any]]:
    """Every size of a passage with every weight of words, and the one to take. Where no row's answer is in the documents:
    the longest size and the usual weight, untried."""
    recipe, progress = choosing.ground.recipe, choosing.progress
    cuts = list(archive.cuts())
    rows = sample([*choosing.ground.examples, *choosing.validation], MOST_QUESTIONS, recipe.seed)
    texts = [question_of(wire(row.prompt)) for row in rows]
    vectors = archive.vectors(texts)
    questions = [Question(text, row.answer, vector) for text, row, vector in zip(texts, rows, vectors, strict=True)]
    gold = [[cut.gold(one.text, one.answer, one.vector) for one in questions] for cut in cuts]
    told = [at for at in range(len(questions)) if any(of_cut[at] for of_cut in gold)]
    tried = list[Ranked]()
    for cut, of_cut in zip(cuts, gold, strict=True) if told else ():
        for weight in recall.WEIGHTS:
            progress.raise_if_stopped()
            tried.append(recall.ranked(cut, [of_cut[at] for at in told], [questions[at] for at in told], weight))
            progress.event("searched", n=len(told), **recall.said(tried[-1]))
    chosen, candidates = recall.choose(tried, recipe.seed) if told else (Ranked(cuts[0], LEXICAL_WEIGHT, [], [], 0.0), [])
    chunking = chosen.cut.chunking
    return chosen, {
        "documents": {"files": len(archive.documents.files), "unreadable": archive.documents.unreadable},
        "answers_in_documents": recall.share([float(any(of_cut[at] for of_cut in gold)) for at in range(len(questions))]),
        "recall": candidates,
        "chunking": {"max_tokens": chunking.max_tokens, "overlap_tokens": chunking.overlap_tokens},
    }


def _other_questions(archive: Archive, chosen: Ranked) -> list[float]:
    """The best passage's score for each of some questions about something else."""
    texts = (*general.MEASURED, *general.REPLAYED)
    found = [
        chosen.cut.search(text, vector, chosen.lexical_weight, 1)
        for text, vector in zip(texts, archive.vectors(texts), strict=True)
    ]
    return [best[0].score if best else 0.0 for best in found]


def _spec(chosen: Ranked, passages: int, others: Sequence[float], recipe: Recipe) -> RetrievalSpec:
    least, _ = recall.least_score(chosen, passages, others)
    return RetrievalSpec(UNNAMED, passages, chosen.lexical_weight, least, recipe.when_nothing)


def _by_answers(
    choosing: Choosing, shelf: Shelf, chosen: Ranked, specs: Sequence[RetrievalSpec]
) -> tuple[RetrievalSpec, dict[str, Any]]:  # fmt: skip
    """The cheapest within one standard error of the best, by validation rows. Where the base gives no right answer at all, as
    one does that answers in sentences where a word is wanted, recall decides."""
    recipe, template = choosing.ground.recipe, choosing.ground.template
    trials = Trials(choosing, recipe.fitting_rows)

    def candidate(spec: RetrievalSpec) -> Candidate:
        def asked(rows: Sequence[Example]) -> list[Asked]:
            return [Asked(row, template) for row in as_served(shelf, rows, spec)]

        return Candidate(f"{spec.passages} passages", asked, of=spec)

    trials.stage([candidate(spec) for spec in specs])
    taken, differences = decide(list(trials.made.values()), trials.n, recipe.seed)
    tried = [
        {
            "passages": trial.candidate.of.passages, "n": len(trial.values), "mean": trial.mean,
            "difference": differences[name].to_json(), "prompt_tokens": round(trial.prompt_tokens, 1),
        }
        for name, trial in trials.made.items()
    ]  # fmt: skip
    if not any(trial.mean for trial in trials.made.values()):
        spec, said = _by_recall(chosen, specs, recipe)
        return spec, said | {"why": "no answer was right, whatever was shown", "candidates": tried}
    spec = taken.candidate.of
    return spec, {"chosen": spec.passages, "by": trials.metric, "candidates": tried}


def _longest(choosing: Choosing, shelf: Shelf, spec: RetrievalSpec, rows: Sequence[Example]) -> int:
    """Tokens of the longest prompt among the rows as they would be asked."""
    tokenizer, template = choosing.ground.tokenizer, choosing.ground.template
    return max(len(prompt_ids(tokenizer, wire(row.prompt), template)) for row in as_served(shelf, rows, spec))


def _by_recall(
    chosen: Ranked, specs: Sequence[RetrievalSpec], recipe: Recipe
) -> tuple[RetrievalSpec, dict[str, Any]]:  # fmt: skip
    """The one with the fewest passages that find as much as the most do."""
    passages = recall.enough(chosen, [spec.passages for spec in specs], recipe.seed)
    return next(spec for spec in specs if spec.passages == passages), {"chosen": passages, "by": "recall"}


def _threshold(chosen: Ranked, spec: RetrievalSpec, others: Sequence[float]) -> dict[str, Any]:
    """What the least score silences: of passages that answer, and of questions about something else."""
    _, highest = recall.least_score(chosen, spec.passages, others)
    silenced = recall.share([float(score < spec.min_score) for score in others])
    said: dict[str, Any] = {"min_score": spec.min_score, "highest": highest, "other_questions_silenced": silenced}
    reached = [score for score, hit in zip(chosen.scores, chosen.hits(spec.passages), strict=True) if hit]
    return said | ({"answers_silenced": recall.share([float(score < spec.min_score) for score in reached])} if reached else {})


def _reopened(fitted: Fitted, choosing: Choosing) -> tuple[Shelf, RetrievalSpec]:
    assert fitted.retrieval is not None, "rag always chooses how to search"
    archive = Archive(choosing)
    return archive.shelf(archive.cut(Chunking(**fitted.report["chunking"]))), fitted.retrieval
