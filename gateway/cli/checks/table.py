"""The checks of `graft doctor`, in the order in which they are told. A new check is one function and one row."""

from __future__ import annotations

from gateway.cli.checks import house, machine, serving
from gateway.cli.checks.contract import Check

CHECKS: dict[str, Check] = {
    "software": machine.software,
    "machine": machine.machine,
    "gpu": machine.gpu,
    "packages": machine.packages,
    "home": house.storage,
    "database": house.database,
    "bases": house.base_models,
    "registry": house.registry,
    "gateway": serving.gateway,
    "capacity": serving.capacity,
}
