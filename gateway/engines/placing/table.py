"""The policies of placement, by the name that `placement.policy` gives them. A new policy is one class and one row."""

from __future__ import annotations

from collections.abc import Callable

from adapters.errors import InvalidInput
from gateway.engines.placing.affinity import Affinity, Replicate
from gateway.engines.placing.contract import PlacementKnobs, Policy
from gateway.engines.placing.spreading import LeastBusy, RoundRobin
from gateway.settings import Settings

POLICIES: dict[str, Callable[[PlacementKnobs], Policy]] = {
    "affinity": Affinity,
    "replicate": Replicate,
    "least_busy": LeastBusy,
    "round_robin": RoundRobin,
}


def policy(settings: Settings) -> Policy:
    """The policy of the settings, for one base. Raises InvalidInput that lists those there are."""
    if settings.placement_policy not in POLICIES:
        listed = ", ".join(POLICIES)
        raise InvalidInput(f"there is no placement.policy '{settings.placement_policy}' (there are: {listed})", param="policy")
    return POLICIES[settings.placement_policy](PlacementKnobs(settings.placement_load_bound, settings.placement_hot_share))
