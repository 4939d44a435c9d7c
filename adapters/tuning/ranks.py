"""The processes that train one model, seen from one of them: which part it does, and what all decide as one.

accelerate carries it: DDP, or FSDP2 a transformer layer at a time. Alone, nothing is sent. Knows no loop and no row.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import nn

Row = TypeVar("Row")


def accelerator(sharding: str) -> Accelerator:
    """For this process, alone or one of several."""
    on_cpu = not torch.cuda.is_available()
    # buffers are constants of the base; sending them before each forward pass would only cost. accelerate knows no newer word
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    plugin = None
    if sharding == "fsdp2" and PartialState(cpu=on_cpu).num_processes > 1:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True,
            cpu_ram_efficient_loading=False,
        )  # fmt: skip
    made = Accelerator(mixed_precision="no", cpu=on_cpu, kwargs_handlers=[ddp], fsdp_plugin=plugin)
    if plugin is not None and on_cpu:  # where accelerate takes it for DDP, though torch splits over gloo just as well
        made.state._shared_state.update(distributed_type=DistributedType.FSDP, fsdp_plugin=plugin)
    return made


class Ranks:
    """All collective calls are of this class; every process must make them in the same order."""

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self.count: int = state.num_processes
        self.rank: int = state.process_index
        self._device: torch.device = state.device

    def share(self, batches: Sequence[list[Row]]) -> list[tuple[list[Row], bool]]:
        """This process's part of the batches, dealt out in turn, and whether it counts.

        Everybody gets as many, since nobody may be missing when gradients or weights are exchanged: where there are too
        few, a row is done once more and does not count.
        """
        mine = [(batch, True) for batch in batches[self.rank :: self.count]]
        return mine + [(batches[0][:1], False)] * (math.ceil(len(batches) / self.count) - len(mine))

    def apart(self, model: nn.Module, *, is_last: bool) -> AbstractContextManager[Any]:
        """Within, DDP adds up gradients without sending them. Under FSDP2 they are sent each time, as nobody has room for
        those of all weights."""
        if is_last or self.count == 1:
            return nullcontext()
        return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()

    def sum(self, value: float) -> float:
        """Over all processes; the same number in each."""
        return value if self.count == 1 else float(self._reduced(value, torch.distributed.ReduceOp.SUM))

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so."""
        return said if self.count == 1 else bool(self._reduced(float(said), torch.distributed.ReduceOp.MAX))

    def _reduced(self, value: float, operation: Any) -> float:
        tensor = torch.tensor(value, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(tensor, operation)
        return tensor.item()
