"""What can be watched of agents."""

from collections.abc import AsyncIterator
from typing import Annotated

import strawberry

from db.agents import Agent as AgentRow
from db.events import Kind
from guards.errors import NotFound
from guards.permissions import Permission
from resolvers.queries import system
from schema.access import Seen
from schema.fields import Info, described, nested, watches
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.agents import Agent


@described
class AgentChange(Change):
    """An agent was switched, configured, added or removed, or its queue was cleared."""

    @nested()
    def agent_id(self) -> str:
        """Which it is."""
        return self.event.entity_id

    @nested(gives=Agent | None)
    async def agent(self, info: Info) -> AgentRow | None:
        """As it is now; null when it was removed."""
        return await system.agent(info.context, self.event.entity_id)


AgentUpdate = Annotated[
    AgentChange | Resync, strawberry.union("AgentUpdate", description="An agent has changed, or some did.")
]


@described
class Agents:
    """Agents as they change."""

    @watches(Permission.AGENT_READ, seen=Seen.BY_SCOPE)
    async def agent_changed(
        self, info: Info, id: strawberry.ID | None = None, after: str | None = None
    ) -> AsyncIterator[AgentUpdate]:
        """Changes of one agent, or of all; not how busy they are."""
        if id is not None and await system.agent(info.context.afresh(), id) is None:
            raise NotFound(f"there is no agent {id}")
        async for update in watched(
            info.context, Kind.AGENT_CHANGED, after, lambda event: AgentChange(event=event), entity=id
        ):
            yield update
