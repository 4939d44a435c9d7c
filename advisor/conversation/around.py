"""The words around a number by which its field is known. A table of patterns, and nothing else; English, as the questions are.

It is tried from top to bottom, so what is special stands above what is general.
"""

from __future__ import annotations

from dataclasses import dataclass

from advisor.stated import FIELDS

ROW = (
    r"(?:rows?|examples?|samples?|records?|data[\s-]?points?|instances?|pairs?|tickets?|e-?mails?|reviews?|messages?|conversations?"
    r"|dialogues?|transcripts?|sentences?|entries|items?|questions?|posts?|comments?|invoices?|annotations?|demonstrations?)"
)
CLASS = r"(?:labels?|classes|class|categor(?:y|ies)|intents?|topics?|departments?|teams?)"
TIME = r"(?:day|hour|minute|second|sec)"

_STOP = "per|each|and|or|of|with|for|in|on|to|from|a|an|the|at|that|is|are|was|every"
_SOME = rf"(?:[\s-]+(?!(?:{_STOP})\b)[a-z][\w'/-]*){{0,3}}?[\s-]*"
"""Up to three words between a number and what it counts: 250 labelled support tickets."""
_ABOUT = (
    r"(?:\s+(?:about|around|roughly|approximately|nearly|almost|over|under|only|just|up to|at (?:least|most)|some))?\s*~?\s*"
)
_IS = rf"\s*(?::|=|is|are|was|of)?{_ABOUT}"
_PER = r"\s*(?:per|for each|for every|in each|of each|an?|each|/)\s*"
_TEXT = r"(?:text|data|docs?|documents?|disk|storage|logs?|pdfs?|corpus|files?)"
_ASKS = r"(?:requests?|queries|questions?|calls?|messages?|prompts?|chats?)"
_PROMPTED = r"(?:zero[\s-]shot|prompt(?:ed|ing|s)?|out of the box|untuned)"
_WAITS = r"(?:latency|within|answers?|respon[ds]\w*|repl(?:y|ies)|start\w*|wait|under|below)"
_TUNED = r"(?:adapted|tuned|fine-?tuned)"
_NEEDS = r"(?:need|requir|depend|rely|come from|are (?:only )?in)"
_PROMPT_LIMIT = r"(?:prompts?|context)(?:\s+(?:window|length|size|limit))?(?:\s+[a-z]+){0,3}"


@dataclass(frozen=True, slots=True)
class Around:
    """A number of the field `name` stands between words like these; `""` asks for none."""

    name: str
    before: str = ""
    after: str = ""
    billions: bool = False
    """Only of a number with such a scale, as 7B or 135M."""


AROUND = (
    Around("examples_per_class", after=rf"{_SOME}{ROW}{_PER}{CLASS}\b"),
    Around("examples_per_class", after=rf"{_PER}{CLASS}\b"),
    Around("tokens_per_example", after=rf"{_SOME}tokens?(?:\s+long)?{_PER}(?:{ROW}|answer)\b"),
    Around("tokens_per_example", before=rf"\b{ROW}\s+(?:are|is|have|of|with){_ABOUT}", after=r"\s*tokens?\b"),
    Around("max_prompt_tokens", before=rf"\b{_PROMPT_LIMIT}{_IS}", after=r"(?:\s*tokens?)?\b"),
    Around("max_prompt_tokens", after=r"[\s-]*(?:tokens?\s+)?(?:of\s+)?(?:context|prompts?)\b"),
    Around("labels_per_hour", after=rf"{_SOME}{ROW}{_PER}hour\b"),
    Around("queries_per_day", after=rf"{_SOME}{_ASKS}{_PER}{TIME}\b"),
    Around("queries_per_day", after=r"\s*(?:rps|qps)\b"),
    Around("corpus_tokens", after=rf"{_SOME}tokens?\b"),
    Around("n_examples", after=rf"{_SOME}{ROW}(?!{_PER}{TIME}\b)\b"),
    Around(
        "n_examples", before=rf"\b(?:rows|examples|samples|records|dataset size|data[\s-]?points){_IS}",
        after=r"(?!\s*(?:tokens?|%|long))\b",
    ),
    Around("n_classes", after=rf"{_SOME}{CLASS}\b"),
    Around("n_classes", before=rf"\b{CLASS}\s*(?::|=|is|are){_ABOUT}"),
    Around("tenants", after=rf"{_SOME}(?:tenants?|adapters?|{_TUNED} models?)\b"),
    Around("tenants", after=rf"{_SOME}customers?\s+(?:each|with (?:their|its) own)\b"),
    Around("train_tflops", after=r"\s*(?:tflops?|tflop/s|teraflops)\b"),
    Around("watts", after=r"\s*(?:watts?|w)\b"),
    Around("price_per_hour", after=rf"\s*(?:dollars?|usd)?{_PER}(?:gpu[\s-]?)?hour\b"),
    Around("gpu_gib", after=rf"\s*(?:gib|gb|gigs?|gigabytes|mib|tib|tb)\b(?!\s+(?:of\s+)?(?:[a-z]+\s+)?{_TEXT}\b)"),
    Around("latency_budget_ms", after=r"\s*(?:ms|milliseconds?)\b"),
    Around("latency_budget_ms", before=rf"\b{_WAITS}\b[^.,;\d\n]{{0,40}}", after=r"\s*(?:s|sec|seconds?)\b(?!\s+each)"),
    Around("params_b", after=rf"{_SOME}param(?:eter)?s?\b"),
    Around("params_b", before=rf"\bparam(?:eter)?s?{_IS}"),
    Around("params_b", after=r"[\s-]*(?:instruct|chat|base|model|llm)\b", billions=True),
    Around("params_b", after=r"(?<=\db)\b"),
    Around("base_score", before=rf"\b(?:base|{_PROMPTED})\b[^.;\d\n]{{0,40}}"),
    Around(
        "base_score",
        after=rf"(?:\s+of\s+(?:the\s+)?[a-z]+)?\s+(?:accura\w+|right|correct)[^.;\d\n]{{0,30}}\b{_PROMPTED}\b",
    ),
    Around("domain_shift", before=r"\b(?:domain[\s-])?shift\b[^.,;\d\n]{0,20}"),
    Around("needs_new_knowledge", after=rf"\s+of\s+(?:the\s+|all\s+|our\s+)?(?:answers|{_ASKS})\s+{_NEEDS}"),
)  # fmt: skip
LITERAL = r"(?<![\w-])(?:--)?(" + "|".join(name.replace("_", "[ _-]") for name in FIELDS) + r")\s*(?:=|:|is|of)?\s*\Z"
"""Every field can be stated by its own name, as the command line has it."""
DENIED = (
    r"(?:\b(?:not|cannot)\b(?!\s+(?:sure|only|just|more|less|fewer|certain|much))|n't\b"
    r"|\b(?:no longer|never|instead of|rather than)\b)(?:\s+[\w'-]+){0,4}\s*~?\Z"
)
"""Before a number: it is said not to be so."""
NOTHING = rf"\b(?:no|zero|without(?: any)?)\s+(?:[a-z-]+\s+)?(?:(?:labell?ed|training)\s+data|{ROW})(?!\w)"
"""There are no examples."""
