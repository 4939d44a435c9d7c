"""The words that name a kind of task, a yes or no and a machine, and those that a quote of a field must hold. Tables only.

English, as the questions are. Of numbers' surroundings knows `around.py`.
"""

from __future__ import annotations

import re
from functools import cache

from advisor import hardware
from advisor.conversation.around import CLASS, ROW


@cache
def pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


def one_of(words: str) -> str:
    """A pattern of any of these words; `chang*` is any word that begins so."""
    return r"\b(?:" + "|".join(word.replace("*", r"\w*") for word in words.split(" ")) + r")\b"


TASKS: dict[str, str] = {
    "qa_closed_book": r"\bclosed[\s-]book\b",
    "qa_open_book": r"\bopen[\s-]book\b",
    "translation": r"\btranslat\w+",
    "summarization": r"\bsummar(?:y|ies|i[sz]\w+)",
    "tool_use": r"\b(?:tool|function)[\s-](?:use|calls?|calling)\b",
    "code": (
        r"\b(?:generat|writ|complet|review)\w*\s+(?:[a-z]+\s+)?(?:code|sql|python)\b|\bcode (?:generation|completion)\b"
        r"|\btext[\s-]to[\s-]sql\b"
    ),
    "extraction": (
        r"\bextract\w*|\bnamed[\s-]entit\w+|\bpull\w* (?:out )?(?:[a-z]+ )?(?:fields?|values?|entities|dates?|names?)\b"
    ),
    "classification": (
        r"\bclassif\w+|\bcategori[sz]\w+|\bsentiment\b|\bintent (?:detection|recognition)\b|\btriag\w+|\bspam\b"
        r"|\brout(?:e|ing) (?:[a-z]+ ){0,3}(?:tickets?|e-?mails?|requests?|calls?)\b"
        rf"|\bsort\w* (?:[a-z]+ ){{0,3}}(?:by|into) (?:[a-z]+ )?{CLASS}\b"
    ),
    "question_answering": (
        r"\bquestion[\s-]answering\b|\banswer(?:s|ing)?\s+(?:[a-z']+\s+){0,3}questions?\b|\bq\s?(?:&|and)\s?a\b|\bqa\b|\bfaqs?\b"
    ),
    "reasoning": r"\breasoning\b|\bmath(?:s|ematics)?\b|\bword problems?\b",
    "style": (
        r"\b(?:tone|style|brand) ?(?:of )?voice\b|\bin (?:our|the|my) (?:[a-z]+ )?(?:tone|style|voice)\b"
        r"|\bwriting style\b|\bstyle transfer\b"
    ),
    "chat": r"\bchat ?bots?\b|\bconversational\b|\bvirtual assistant\b",
    "domain_lm": r"\b(?:domain|language)[\s-]model(?:l?ing)? (?:of|on) (?:raw )?text\b|\bpretrain\w* on\b",
    "generation": r"\bgenerat(?:e|es|ing|ion)\b|\bdraft(?:s|ing)?\b|\bwrit(?:e|es|ing)\b",
}
"""What is special stands above what is general."""
HINTS: dict[str, str] = {
    "classification": one_of(
        f"{CLASS} tell* sort* tag* flag* assign* predict* decid* detect* identif* label* categor* which whether kind"
    ),
    "extraction": one_of("find* pull* fields? entit* names? dates? turn*"),
    "question_answering": one_of("questions? ask* answer*"),
    "translation": one_of("languages? english german french spanish italian chinese japanese"),
    "summarization": one_of("short* condens* digest* abstracts? briefs?"),
    "style": one_of("tone voice style rewrit* polish*"),
    "generation": one_of("writ* generat* draft* compos* creat*"),
    "chat": one_of("chat* talk* assistants? conversation*"),
    "code": one_of("code sql python program*"),
    "tool_use": one_of("tools? functions? apis?"),
    "reasoning": one_of("math* reason* proofs? solv*"),
    "domain_lm": one_of("pretrain* raw"),
}
"""Words of which a quote must hold one, for a model to take it for that kind of task."""

_FACTS = (
    r"(?:facts?|knowledge|answers?|docs?|documents?|documentation|content|information|prices?|polic(?:y|ies)|catalog(?:ue)?"
    r"|data|manuals?|rules|products?)"
)
_BOOKS = r"(?:docs?|documents?|documentation|wiki|manuals?|handbooks?|knowledge base|polic(?:y|ies)|catalog(?:ue)?)"
_OURS = r"(?:our|internal|private|proprietary|company|new)"
_OWN = r"(?:own\s+|internal\s+|private\s+|product\s+|company\s+)?"
_NEVER = r"(?:(?:do|does|will|did)\s?n[o']t|(?:do|does|will) not|never|rarely|hardly|not)"
_CANNOT = r"(?:cannot|can\s?not|can't|does(?:n't| not)|won't|could(?:n't| not))"
UNKNOWABLE = rf"\b(?:base|model|llm|it)\s+{_CANNOT}\s+(?:possibly\s+)?know\b"
SAID: dict[str, tuple[tuple[bool, str], ...]] = {
    "knowledge_changes": (
        (False, rf"\b{_FACTS}\s+(?:[a-z]+\s+){{0,3}}?{_NEVER}\s+(?:really\s+|ever\s+)?(?:change|get updated|move)\w*"),
        (False, rf"\b{_FACTS}\s+(?:is|are|stays?|remains?)\s+(?:[a-z]+\s+)?(?:static|stable|fixed|the same)\b"),
        (True, rf"\b{_FACTS}\s+(?:[a-z]+\s+){{0,3}}?(?:change|changes|changing|updated|go stale|move)\b"),
        (True, rf"\b(?:changing|volatile|up-to-date|frequently updated)\s+(?:[a-z]+\s+)?{_FACTS}\b"),
    ),
    "needs_new_knowledge": (
        (False, rf"\b{_NEVER}\s+need\w*\s+(?:[a-z]+\s+){{0,2}}{_FACTS}|\bno {_OURS}\s+{_FACTS}\b"),
        (True, UNKNOWABLE),
        (True, rf"\b(?:answers?|facts?)\s+(?:[a-z]+\s+){{0,4}}?(?:in|from|on)\s+(?:the|{_OURS})\s+{_OWN}{_BOOKS}\b"),
        (True, rf"\b(?:need|require|use)s?\s+(?:[a-z]+\s+){{0,2}}?{_OURS}\s+{_OWN}{_FACTS}\b"),
    ),
    "tuned_without_passages": (
        (
            True,
            r"\b(?:fine-?)?(?:tuned|trained)\s+(?:[a-z]+\s+){0,3}?without\s+(?:any\s+)?(?:passages?|context|doc(?:ument)?s)\b",
        ),
    ),
}
"""What says yes or no to a field; of a field's patterns the first that is found counts."""

CUES: dict[str, str] = {
    "n_examples": one_of(f"{ROW} dataset labelled labeled annotated collected gathered training data"),
    "n_classes": one_of(f"{CLASS} kinds? types? buckets?"),
    "examples_per_class": one_of(CLASS),
    "corpus_tokens": r"tokens?\b",
    "tokens_per_example": r"tokens?\b",
    "max_prompt_tokens": one_of("prompts? context"),
    "params_b": r"\d\s?b\b|" + one_of("param* model base llm instruct chat"),
    "gpu_gib": r"(?:gib|gb|gigs?|gigabytes|mib|tib|tb)\b|" + one_of("gpu* memory vram card ram"),
    "latency_budget_ms": r"ms\b|" + one_of(
        "latency milliseconds? within answers? reply replies start* under below fast* slow* respon* wait* delay*"
    ),
    "queries_per_day": r"(?:rps|qps)\b|" + one_of("requests? query queries traffic calls? day hour minute second sec daily"),
    "tenants": one_of("tenants? models? customers? adapters? clients?"),
    "base_score": r"\bout of the box\b|\bzero[\s-]shot\b|" + one_of("untuned accura* scor* right correct base prompt*"),
    "domain_shift": one_of("shift"),
    "needs_new_knowledge": one_of(
        "answers? questions queries requests know* facts? doc* manuals? wiki polic* internal proprietary private catalog*"
        " handbook*"
    ),
    "knowledge_changes": r"\bthe same\b|" + one_of(
        "up-to-date mov* chang* updat* stale volatile outdated daily weekly monthly static stable fixed"
    ),
    "tuned_without_passages": one_of("tuned fine-?tun* trained"),
    "task_type": "|".join(HINTS.values()),
    "price_per_hour": one_of("hour"),
    "labels_per_hour": one_of("hour"),
    "watts": r"watts?\b|\d\s?w\b|" + one_of("power"),
    "train_tflops": r"tflops?\b|tflop/s|" + one_of("teraflops"),
}  # fmt: skip
"""Of these a quote must hold one, for whoever reads a field out of it."""

NEGATION = r"(?:\b(?:not|never|no|none|cannot|hardly|rarely)\b|n't\b)"
STILL = r"\b(?:static|stable|fixed|the same)\b"
"""What does not change, without a negation."""
REACH = r"(?:[^\w.;]+\w+){0,4}?[^\w.;]+"
"""From a negation to what it denies."""
BARE = r"\b(?P<yes>yes|yeah|yep|yup|they do|it does)\b|\b(?P<no>no|nope|nah|they don't|it doesn't|never)\b"
"""A yes or no by itself."""
FILLER = one_of(
    "about around roughly approximately maybe probably perhaps we i have has got it is it's its there are some just only so far"
    " in total and or the a answer now say nearly almost over under up to than more less at least most of them"
)
"""What may stand beside a bare answer."""


def _machine(name: str) -> re.Pattern[str]:
    words = r"[\s-]?".join(map(re.escape, name.split("-")))
    return re.compile(rf"\b(?:nvidia\s+)?{words}s?\b(?:\s+\d{{2,3}}\s?gi?b\b)?", re.IGNORECASE)


MACHINES = {name: _machine(name) for name in sorted(hardware.HARDWARE, key=len, reverse=True)}
"""By the names of `advisor.hardware`; the longer of two that fit is meant."""
