"""What can be read of the agents beside one and all of them."""

from functools import partial
from typing import Any

import strawberry

from db import agents as agent_rows
from db.models.records import Severity
from guards.permissions import Permission
from resolvers.queries import agents
from schema.connections import Connection, connection, window
from schema.fields import Info, described, requires
from schema.types.agents import Agent, AgentRoster
from schema.types.system import LogLine


@described
class Agents:
    """The agents."""

    @requires(Permission.AGENT_READ, gives=AgentRoster | None)
    async def agent_roster(self, info: Info) -> agents.Roster:
        """All agents at once, counted."""
        return await agents.roster_of(info.context)

    @requires(Permission.CONFIG_READ, gives=list[Agent] | None)
    async def agent_configurations(self, info: Info) -> list[agent_rows.Agent]:
        """All agents, for those who may see how the system is set."""
        return await agents.everyone(info.context)

    @requires(Permission.LOG_READ, gives=Connection[LogLine] | None)
    async def agent_logs(
        self,
        info: Info,
        id: strawberry.ID,
        levels: list[Severity] | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """What was written down of an agent's steps, the newest first."""
        wanted = agents.logged(id, tuple(levels or ()))
        page = await agents.logs_listed(info.context, id, wanted, window(first, after, last, before, offset))
        return connection(page, partial(agents.how_many_logs, info.context, wanted))
