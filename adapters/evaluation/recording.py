"""Records a probe: which next tokens the adapter makes likelier or less likely, and by how much, in the trainer's stack.

Knows no training and no engine; what is compared with the recording, and how strictly, is in `probe.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from adapters.conversation import Example, Message, WireMessage, wire
from adapters.data.tokens import IGNORED, Encoded
from adapters.errors import Unservable
from adapters.evaluation.probe import LEAST_SHIFT_NATS, MOST_PROMPT_TOKENS, MOST_ROWS, TOKENS_A_ROW, Probe, ProbeRow
from adapters.evaluation.speaking import own_answers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

MOST_EXAMPLES = 16
FEWEST_PROMPT_TOKENS = 8
"""Where there are so many. What a model says of its first tokens alone depends on rounding: after one token of plain text
vLLM and transformers, both bf16, were 0.6 nats apart where they were 0.1 after sixteen."""
LONGEST_ANSWER_TOKENS = 24

Ids = Callable[[Sequence[WireMessage]], list[int]]
"""The ids that are read for a conversation."""

GENERAL_PROMPTS = (
    "What can you do for me?",
    "Name three animals that live in the sea.",
    "Is seven a prime number? Answer yes or no.",
    "Write one sentence about the weather in spring.",
    "Translate into French: Where is the station?",
    "My parcel has not arrived and I am getting impatient.",
    "Summarise in a few words: The meeting was moved from Monday to Thursday because two people are ill.",
    "Write a Python function that adds two numbers.",
    'Give me a JSON object with the fields "name" and "age".',
    "Which word does not belong: apple, pear, hammer, plum?",
    "The patient complains of a headache and a high temperature.",
    "Once upon a time there was a small village by a river.",
)
"""For adapters whose data nobody gave us: broad, so that some of them touch what the adapter learned."""


def record(
    model: Any, rows: Sequence[Encoded], between: Callable[[], None] = lambda: None,
    untuned: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Probe:  # fmt: skip
    """The places in the answers of these rows where the adapter changes most what comes next.

    `model` computes with the weights as they are saved; `untuned` gives the base for as long as its context lasts, and
    may be left out for a peft model, whose adapter is switched off instead. Of each of the first 16 rows the first, the
    middle and the last supervised token are looked at; the watched tokens are the four likeliest of either model, so that
    an adapter that is all but certain is still measured at what it suppresses.
    Raises Unservable (`adapter_does_nothing`) where even the largest change could be rounding.
    """
    import torch

    model.eval()
    batches = _alike(_prompts(rows[:MOST_EXAMPLES]))
    with torch.inference_mode():
        adapted_batches = [_watching(model, prompts, between) for prompts in batches]
        with (untuned or (lambda: _adapter_off(model)))() as base_model:
            base_batches = [_watching(base_model, prompts, between) for prompts in batches]
    found: list[ProbeRow] = []
    for prompts, with_adapter, without in zip(batches, adapted_batches, base_batches, strict=True):
        for prompt, adapted, base in zip(prompts, with_adapter, without, strict=True):
            found.append(_row(prompt, adapted, base))
    dtype = str(next(model.parameters()).dtype if untuned else model.get_base_model().dtype).removeprefix("torch.")
    return _strongest(found, dtype)


def record_in_chat(
    model: Any, examples: Sequence[Example], *, asked: Ids, plain: Ids, untuned: Callable[[], AbstractContextManager[Any]],
    between: Callable[[], None] = lambda: None,
) -> Probe:  # fmt: skip
    """The questions of these examples whose answers begin most differently with the adapter, for one that an engine is
    handed in the messages of a chat and not by ids.

    `asked` gives the ids that `model` reads for a conversation, `plain` those that the base reads which `untuned` gives.
    Of the 16 shortest questions, as an engine on a CPU works some milliseconds on each token. Raises as `record` does.
    """
    import torch

    model.eval()
    asked_once = {example.prompt_key: example.prompt for example in examples}.values()
    short = sorted(asked_once, key=lambda messages: sum(len(message.content) for message in messages))[:MOST_EXAMPLES]
    prompts = [wire(messages) for messages in short]
    with torch.inference_mode():
        adapted = [_watching(model, [tuple(asked(prompt))], between)[0] for prompt in prompts]
        with untuned() as base_model:
            base = [_watching(base_model, [tuple(plain(prompt))], between)[0] for prompt in prompts]
    found = [
        _row((), with_adapter, without, messages) for with_adapter, without, messages in zip(adapted, base, short, strict=True)
    ]
    return _strongest(found, str(next(model.parameters()).dtype).removeprefix("torch."))


def _row(ids: tuple[int, ...], adapted: torch.Tensor, base: torch.Tensor, messages: tuple[Message, ...] = ()) -> ProbeRow:
    watched = _watched(adapted, base)
    return ProbeRow(ids, tuple(watched), tuple(adapted[watched].tolist()), tuple(base[watched].tolist()), messages)


def _strongest(found: list[ProbeRow], dtype: str) -> Probe:
    found.sort(key=lambda row: Probe((row,), dtype).shift, reverse=True)
    probe = Probe(tuple(found[:MOST_ROWS]), dtype)
    if not found or probe.shift < LEAST_SHIFT_NATS:
        raise Unservable(
            f"the adapter has no measurable effect: where it changes most, it is {probe.shift if found else 0.0:.2f} nats off "
            f"the base, and below {LEAST_SHIFT_NATS} that may be rounding; train longer or with a higher learning_rate",
            code="adapter_does_nothing",
        )
    return probe


def general_rows(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[Encoded]:
    """Rows for an adapter from outside: general questions, with the adapted model's own greedy answers."""
    return own_answers(model, tokenizer, GENERAL_PROMPTS, longest=LONGEST_ANSWER_TOKENS)


def _prompts(rows: Sequence[Encoded]) -> list[tuple[int, ...]]:
    """Ids up to a supervised token, each once. A long prompt keeps its first id, which attention leans on, and its end."""
    prompts: dict[tuple[int, ...], None] = {}
    for row in rows:
        learned = [at for at, label in enumerate(row.labels) if label != IGNORED and at > 0]
        places = [at for at in learned if at >= FEWEST_PROMPT_TOKENS] or learned
        for at in {places[0], places[len(places) // 2], places[-1]} if places else ():
            ids = row.input_ids[:at]
            if len(ids) > MOST_PROMPT_TOKENS:
                ids = ids[:1] + ids[1 - MOST_PROMPT_TOKENS :]
            prompts[tuple(ids)] = None
    return list(prompts)


def _alike(prompts: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Batches of prompts of one length each: nothing is padded, so nothing but the batch's size differs from one alone."""
    batches: dict[int, list[tuple[int, ...]]] = {}
    for prompt in prompts:
        batches.setdefault(len(prompt), []).append(prompt)
    return list(batches.values())


@contextmanager
def _adapter_off(model: Any) -> Iterator[Any]:
    with model.disable_adapter():
        yield model


def _watching(model: Any, prompts: list[tuple[int, ...]], between: Callable[[], None]) -> torch.Tensor:
    between()
    return _next_tokens(model, prompts)


def _next_tokens(model: Any, prompts: list[tuple[int, ...]]) -> torch.Tensor:
    """(prompts, vocabulary), fp32: log-probabilities of what follows each, in nats. The prompts are of one length."""
    import torch

    ids = torch.tensor(prompts, device=next(model.parameters()).device)
    logits: torch.Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits.float().log_softmax(-1).cpu()


def _watched(adapted: torch.Tensor, base: torch.Tensor) -> list[int]:
    likeliest = (adapted.topk(TOKENS_A_ROW // 2).indices, base.topk(TOKENS_A_ROW // 2).indices)
    return sorted({token for ids in likeliest for token in ids.tolist()})
