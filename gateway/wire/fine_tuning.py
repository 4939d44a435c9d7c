"""The fine-tuning API as the `openai` client writes and reads it. Fields and ranges are the hosted service's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Auto = Literal["auto"]
BatchSize = Annotated[int, Meta(ge=1, le=256)]
Multiplier = Annotated[float, Meta(gt=0)]
Epochs = Annotated[int, Meta(ge=1, le=50)]
Beta = Annotated[float, Meta(gt=0, le=2)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]  # fmt: skip


class Hyperparameters(msgspec.Struct, forbid_unknown_fields=True):
    batch_size: Auto | BatchSize | None = "auto"
    learning_rate_multiplier: Auto | Multiplier | None = "auto"
    n_epochs: Auto | Epochs | None = "auto"


class DpoHyperparameters(Hyperparameters, forbid_unknown_fields=True):
    beta: Auto | Beta | None = "auto"


class Supervised(msgspec.Struct, forbid_unknown_fields=True):
    hyperparameters: Hyperparameters = msgspec.field(default_factory=Hyperparameters)


class Dpo(msgspec.Struct, forbid_unknown_fields=True):
    hyperparameters: DpoHyperparameters = msgspec.field(default_factory=DpoHyperparameters)


class Method(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Any = None


class Integration(msgspec.Struct):
    type: str


class CreateJob(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[list[Integration], Meta(max_length=5)] | None = None
    hyperparameters: Hyperparameters | None = None
    """Deprecated by the service; supervised only."""
    method: Method | None = None
    graft: dict[str, Any] | None = None
    """Ours: fields of a recipe, and `method`, `system`, `publish`."""


class JobError(msgspec.Struct):
    code: str
    message: str
    param: str | None


class FineTuningJob(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    """Unix seconds, as every time here."""
    finished_at: int | None
    estimated_finish: int | None
    model: str
    fine_tuned_model: str | None
    """Set once it answers."""
    organization_id: str
    status: str
    training_file: str
    validation_file: str | None
    result_files: list[str]
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    trained_tokens: int | None
    error: JobError | None
    seed: int
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    integrations: list[Any] = msgspec.field(default_factory=list)
    graft: dict[str, Any]
    """Ours: the whole recipe, how far the run is, and its scorecard."""
    object: Literal["fine_tuning.job"] = "fine_tuning.job"


class JobList(msgspec.Struct):
    data: list[FineTuningJob]
    has_more: bool
    object: Literal["list"] = "list"


class Event(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any]
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"


class EventList(msgspec.Struct):
    data: list[Event]
    has_more: bool
    object: Literal["list"] = "list"


class Checkpoint(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float]
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"


class CheckpointList(msgspec.Struct):
    data: list[Checkpoint]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"
