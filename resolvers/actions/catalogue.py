"""The catalogue: every action there is, by its name."""

from collections.abc import Mapping
from typing import Any, Final

from resolvers.actions import (
    analytics,
    breakers,
    caches,
    configuration,
    dashboard,
    everyday,
    jobs_queue,
    maintenance,
    managers,
    system_logs,
)
from resolvers.actions.agents_workers import fleet, single, trying, workers
from resolvers.actions.contract import Action
from resolvers.actions.system_controls import backups, database, health, observed, restarts, services, upgrades

CATALOGUE: Final[Mapping[str, Action[Any, Any]]] = {
    action.name: action
    for room in (
        jobs_queue,
        dashboard,
        maintenance,
        restarts,
        services,
        observed,
        database,
        backups,
        health,
        upgrades,
        fleet,
        single,
        workers,
        trying,
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
