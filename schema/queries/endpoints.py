"""What can be read of the REST endpoints, and of how everything did over time."""

import asyncio
from collections.abc import Iterable
from typing import Final

from dataloaders.snapshot import TimeRange
from guards.allowances import Class
from guards.permissions import Permission
from resolvers.queries import endpoints
from resolvers.queries.endpoints import Measured
from schema.fields import Info, described, requires, shown
from schema.rest import terms
from schema.types.endpoints import Endpoint, Metrics

PEOPLES: Final = frozenset({Class.PUBLIC, Class.USER})
"""Levels of endpoints that are for everybody, or for whoever is signed in."""


@described
class Endpoints:
    """The endpoints, and figures over time."""

    @requires(Permission.SERVICE_READ, gives=list[Endpoint] | None)
    async def endpoints(self, info: Info, time_range: TimeRange = TimeRange.HOUR) -> list[Endpoint]:
        """Every endpoint of the REST table, with how it was used in all processes together."""
        return await _table(info, await endpoints.measured(info.context, time_range))

    @requires((Permission.JOB_READ, Permission.AGENT_READ), gives=Metrics | None)
    async def analytics(self, info: Info, time_range: TimeRange = TimeRange.DAY) -> Metrics:
        """How endpoints, and the jobs and agents of the caller's tenant, did over a stretch of time.

        Everything is added up and names nobody. Endpoints are counted for the whole installation; who may not read of
        services sees those that are for everybody or for people.
        """
        course = await endpoints.course(info.context, time_range)
        return Metrics(
            time_range=time_range,
            since=course.measured.since,
            until=course.measured.until,
            endpoints=await _table(info, course.measured),
            jobs=[shown(hour) for hour in course.jobs],
            agents=[shown(hour) for hour in course.agents],
        )


async def _table(info: Info, measured: Measured) -> list[Endpoint]:
    """The rows that the caller is shown."""
    # The first time, it reads every stored operation.
    table = await asyncio.to_thread(terms.of_all, info.schema)
    return [Endpoint.of(each, measured) for each in _shown(table, everything=measured.everything)]


def _shown(table: Iterable[terms.Terms], *, everything: bool) -> Iterable[terms.Terms]:
    return (each for each in table if everything or each.level in PEOPLES)
