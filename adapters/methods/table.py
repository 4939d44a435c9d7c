"""Every method that can be carried out, by the name users say. One file and one row adds one."""

from __future__ import annotations

from adapters.errors import InvalidInput
from adapters.methods.continued import ContinuedPretraining
from adapters.methods.contract import Method
from adapters.methods.full import Full
from adapters.methods.in_context import as_given, with_chosen, with_shots
from adapters.methods.lora import Lora
from adapters.methods.prompt_tuning import PromptTuning
from adapters.methods.rag import Rag
from adapters.methods.shots import FewShot, ManyShot

METHODS: dict[str, Method] = {
    "zero_shot": Method(prompt=as_given),
    "few_shot": Method(prompt=with_shots, fitter=FewShot()),
    "many_shot": Method(prompt=with_chosen, fitter=ManyShot()),
    "rag": Method(prompt=as_given, fitter=Rag(), retrieves=True),
    "head": Method(prompt=as_given, objectives=("classification",), classifies=True),
    "prompt_tuning": Method(prompt=as_given, weights=PromptTuning()),
    "lora": Method(prompt=as_given, weights=Lora(), objectives=("sft", "dpo")),
    "rag+lora": Method(prompt=as_given, weights=Lora(), contexts=Rag((3, 5), by_answers=False), retrieves=True),
    "qlora": Method(prompt=as_given, weights=Lora(), objectives=("sft", "dpo"), bits=4),
    "full": Method(prompt=as_given, weights=Full(), objectives=("sft", "dpo")),
    "continued_pretraining": Method(prompt=as_given, weights=ContinuedPretraining(), objectives=("lm",)),
}


def method(name: str) -> Method:
    if name not in METHODS:
        raise InvalidInput(f"the method '{name}' cannot be carried out; choose one of {', '.join(METHODS)}", param="method")
    return METHODS[name]
