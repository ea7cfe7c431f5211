"""The catalogue: every action there is, by its name."""

from collections.abc import Mapping
from typing import Any, Final

from resolvers.actions import (
    agents_workers,
    analytics,
    breakers,
    caches,
    configuration,
    dashboard,
    everyday,
    jobs_queue,
    managers,
    system_logs,
)
from resolvers.actions.contract import Action
from resolvers.actions.system_controls import database, services, system

CATALOGUE: Final[Mapping[str, Action[Any, Any]]] = {
    action.name: action
    for room in (
        jobs_queue,
        dashboard,
        system,
        services,
        database,
        agents_workers,
        managers,
        system_logs,
        configuration,
        analytics,
        caches,
        everyday,
        breakers,
    )
    for action in room.ACTIONS
}
