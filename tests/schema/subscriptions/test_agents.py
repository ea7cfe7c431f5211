"""Agents are shown as they are after each change, to everybody of their tenant and to nobody else."""

from db import agents
from db.database import Database
from db.models.identity import Role
from resolvers.context import Services
from tests.acting import act
from tests.conftest import OTHER_TENANT, People
from tests.schema.test_subscription import watched
from tests.uploading import context_of

AGENTS = """
subscription($id: ID) {
  agentChanged(id: $id) { ... on AgentChange { agentId agent { id enabled memoryMb } } }
}
"""


async def test_an_agent_is_shown_as_it_is_after_each_change(live: Services, people: People) -> None:
    operator = context_of(live, people[Role.OPERATOR])
    async with watched(live, people[Role.USER], AGENTS) as answers:
        await act(operator, "agent.stop", agent_id="clipper")
        stopped = (await answers())["agentChanged"]
        await act(operator, "agent.configure", agent_id="clipper", enabled=True, memory_mb=256)
        configured = (await answers())["agentChanged"]

    off = {"agentId": "clipper", "agent": {"id": "clipper", "enabled": False, "memoryMb": None}}
    on = {"agentId": "clipper", "agent": {"id": "clipper", "enabled": True, "memoryMb": 256}}
    assert [off, on] == [stopped, configured]


async def test_one_agent_of_ones_own_tenant_can_be_watched_alone(
    live: Services, database: Database, people: People, other_people: People
) -> None:
    async with (
        watched(live, people[Role.USER], AGENTS, id="clipper") as ours,
        watched(live, other_people[Role.USER], AGENTS) as theirs,
    ):
        for tenant, agent_id in ((OTHER_TENANT, "face-detector"), ("default", "video-cutter"), ("default", "clipper")):
            async with database.transaction(tenant) as tx:
                await agents.mark_enabled(tx, agent_id, enabled=False)

        assert "clipper" == (await ours())["agentChanged"]["agentId"]
        assert "face-detector" == (await theirs())["agentChanged"]["agentId"]


async def test_an_agent_that_is_removed_is_shown_as_none(live: Services, database: Database, people: People) -> None:
    async with watched(live, people[Role.USER], AGENTS) as answers:
        async with database.transaction("default") as tx:
            clipper = await agents.by_id(tx, "clipper")
            assert clipper is not None
            await agents.add_alias(tx, clipper, "short", name="Short", category=clipper.category, options={})
            await agents.remove(tx, "short")
        told = [(await answers())["agentChanged"] for _ in range(2)]

    assert [{"agentId": "short", "agent": None}] * 2 == told


async def test_an_agent_that_is_not_there_cannot_be_watched(live: Services, people: People) -> None:
    async with watched(live, people[Role.USER], AGENTS, id="nobody") as answers:
        assert ["NOT_FOUND"] == await answers()
