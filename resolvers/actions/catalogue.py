"""The catalogue: every action there is, by its name."""

from collections.abc import Mapping
from typing import Any, Final

from resolvers.actions import (
    agents_workers,
    analytics,
    configuration,
    dashboard,
    everyday,
    extra,
    jobs_queue,
    managers,
    system_controls,
    system_logs,
)
from resolvers.actions.contract import Action

CATALOGUE: Final[Mapping[str, Action[Any, Any]]] = {
    action.name: action
    for room in (
        jobs_queue,
        dashboard,
        system_controls,
        agents_workers,
        managers,
        system_logs,
        configuration,
        analytics,
        extra,
        everyday,
    )
    for action in room.ACTIONS
}
