"""From a request of the fine-tuning API to an order for the tuner. What is not supported is refused by its name.

Knows no route, no queue and no file; those it is given.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Recipe
from gateway.jobs.tasks import PUBLISH
from gateway.wire.fine_tuning import CreateJob, DpoHyperparameters, Hyperparameters

KNOBS = {"n_epochs": "epochs", "batch_size": "batch_size", "beta": "beta", "learning_rate_multiplier": "learning_rate"}
"""The API's hyperparameters, and the field of a recipe that each of them decides."""
OWN = ("method", "publish", "system", "store")
"""What `graft` takes beside the fields of a recipe."""
CHECKPOINTS = {"lora": 3, "qlora": 3, "rag+lora": 3, "prompt_tuning": 3}
"""Ends of epochs kept unless asked otherwise, as the service does. Of a whole model each would need an engine."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request says, in the tuner's words."""

    method: str
    type: str
    """As the API has it: supervised or dpo."""
    knobs: dict[str, Any]
    rate_multiplier: float | None
    """None where the request sets the learning rate itself."""
    template: PromptTemplate | None
    publish: str
    written: Mapping[str, str]
    """Fields of a recipe, each as the path under which the caller wrote it."""
    store: str | None = None
    """The vector store that is searched with every question, by name or id."""

    def hyperparameters(self, recipe: Recipe) -> dict[str, Any]:
        """The API's, every `auto` resolved."""
        found = {
            "n_epochs": recipe.epochs, "batch_size": recipe.batch_size,
            "learning_rate_multiplier": self.rate_multiplier,
        }  # fmt: skip
        return found | ({"beta": recipe.beta} if recipe.objective == "dpo" else {})


def wishes(request: CreateJob) -> Wishes:
    """Raises InvalidInput that names the field."""
    if request.integrations:
        named = ", ".join(integration.type for integration in request.integrations)
        raise InvalidInput(
            f"integrations are not supported ({named}); leave them out and read the metrics from the job's events, "
            "or as they come from GET /v1/graft/jobs/{id}/events",
            param="integrations",
        )
    kind, said, path = _hyperparameters(request)
    given = {
        name: value for name in KNOBS if (value := getattr(said, name, "auto")) is not None and value != "auto"
    }  # fmt: skip
    own, method = _own(request.graft or {})
    written = {name: f"graft.{name}" for name in own}
    for name in given:
        if KNOBS[name] in own:
            raise InvalidInput(f"{path}.{name} and graft.{KNOBS[name]} say the same; send one of them", param=f"{path}.{name}")
        written[KNOBS[name]] = f"{path}.{name}"
    multiplier = float(given.pop("learning_rate_multiplier", 1.0))
    knobs = {KNOBS[name]: value for name, value in given.items()} | own
    if kind == "dpo":
        if own.get("objective", "dpo") != "dpo":
            raise InvalidInput(
                "method.type is dpo, and graft.objective is not; leave graft.objective out", param="graft.objective"
            )
        knobs["objective"] = "dpo"
    if request.seed is not None:
        knobs["seed"] = request.seed
    knobs.setdefault("keep_checkpoints", CHECKPOINTS.get(method, 0))
    system = (request.graft or {}).get("system")
    return Wishes(
        method, kind, knobs, None if "learning_rate" in own else multiplier, PromptTemplate(system=system) if system else None,
        (request.graft or {}).get("publish", "always"), written | {"store": "graft.store", "docs": "graft.store"},
        (request.graft or {}).get("store"),
    )  # fmt: skip


def model_name(base: str, tenant: str, suffix: str | None, job_id: str) -> str:
    """`ft:<base>:<tenant>:<suffix>:<8 digits>`. A suffix is made fit for a name as the service does: lower case, and a
    hyphen for what a name cannot hold. Raises InvalidInput for one of which nothing is left."""
    plain = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", (suffix or "").lower())).strip("-.")
    plain = re.sub(r"\.{2,}", ".", plain)
    if suffix and not plain:
        raise InvalidInput(f"'{suffix}' has no letter or digit a model's name can hold; use a-z, 0-9 and -", param="suffix")
    return f"ft:{base}:{tenant}:{plain}:{job_id[-8:]}"


def _hyperparameters(request: CreateJob) -> tuple[str, Hyperparameters | DpoHyperparameters, str]:
    """(the method's type, its hyperparameters, the path at which they were written)."""
    method = request.method
    if method is None:
        return "supervised", request.hyperparameters or Hyperparameters(), "hyperparameters"
    if method.type == "reinforcement" or method.reinforcement is not None:
        raise InvalidInput(
            "reinforcement is not supported; take supervised with the answers that you want, or dpo with pairs of a better "
            "and a worse answer",
            param="method.type",
        )
    if request.hyperparameters is not None:
        raise InvalidInput(
            f"hyperparameters are deprecated; with a method, send them in method.{method.type}.hyperparameters",
            param="hyperparameters",
        )
    other = "supervised" if method.type == "dpo" else "dpo"
    if getattr(method, other) is not None:
        raise InvalidInput(f"method.type is {method.type}, so leave method.{other} out", param=f"method.{other}")
    path = f"method.{method.type}.hyperparameters"
    if method.type == "dpo":
        return "dpo", method.dpo.hyperparameters if method.dpo else DpoHyperparameters(), path
    return "supervised", method.supervised.hyperparameters if method.supervised else Hyperparameters(), path


def _own(graft: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(the fields of a recipe among Graft's own options, the method)."""
    fields = {field.name for field in dataclasses.fields(Recipe)} - {"method"}
    for name in graft:
        if name not in fields and name not in OWN:
            raise InvalidInput(
                f"graft has no option '{name}'; it has: {', '.join(sorted({*fields, *OWN}))}", param=f"graft.{name}"
            )
    for name in OWN:
        if not isinstance(graft.get(name, ""), str):
            raise InvalidInput(f"graft.{name} must be a string, not {graft[name]!r}", param=f"graft.{name}")
    if graft.get("publish", "always") not in PUBLISH:
        raise InvalidInput(
            f"graft.publish must be one of {', '.join(PUBLISH)}, not '{graft['publish']}'", param="graft.publish"
        )
    return {name: value for name, value in graft.items() if name in fields}, graft.get("method", "lora")
