"""Agents switched and configured, and what is refused before the database could."""

from pathlib import Path
from typing import Any

import pytest
from strawberry.utils.str_converters import to_camel_case

from db import agents as rows
from db.agents import Agent
from db.database import Database
from db.models.identity import Role
from db.models.work import AgentPriority
from db.redis import Redis
from db.users import User
from guards.errors import BadInput, NotFound
from resolvers.context import Context
from tests.acting import act
from tests.uploading import context_of, services_over

People = dict[Role, User]
RANGES = {
    "max_concurrent": (1, 50),
    "timeout_s": (1, 3600),
    "retry_attempts": (0, 10),
    "memory_mb": (64, 1_048_576),
    "cpu_cores": (1, 256),
    "disk_mb": (64, 104_857_600),
}


@pytest.fixture
def context(database: Database, redis: Redis, people: People, tmp_path: Path) -> Context:
    """An operation of an operator."""
    return context_of(services_over(database, redis, tmp_path), people[Role.OPERATOR])


async def stored(database: Database, tenant: str = "default") -> Agent | None:
    async with database.transaction(tenant) as tx:
        return await rows.by_id(tx, "clipper")


async def configured(context: Context, **changes: Any) -> Agent:
    """The clipper after a change."""
    agent: Agent = (await act(context, "agent.configure", agent_id="clipper", **changes)).agent
    return agent


async def test_an_agent_is_switched_off_and_on_in_its_tenant_alone(context: Context, database: Database) -> None:
    assert not (await act(context, "agent.stop", agent_id="clipper")).agent.enabled
    other = await stored(database, "other")
    assert other is not None
    assert other.enabled

    assert (await act(context, "agent.start", agent_id="clipper")).agent.enabled


async def test_what_is_configured_is_stored_and_the_rest_stays(context: Context, database: Database) -> None:
    before = await stored(database)

    after = await configured(
        context, max_concurrent=50, priority="high", auto_start=False, options={"target_lufs": -16}
    )

    assert before is not None
    assert after == await stored(database)
    assert (50, AgentPriority.HIGH, False, {"target_lufs": -16}) == (
        after.max_concurrent,
        after.priority,
        after.auto_start,
        after.options,
    )
    assert (before.timeout_s, before.revision + 1) == (after.timeout_s, after.revision)


async def test_a_number_out_of_range_is_refused(context: Context, database: Database) -> None:
    """The same ranges that the table checks: whatever gets past here, the table takes."""
    before = await stored(database)
    for name, (least, most) in RANGES.items():
        for wrong in (least - 1, most + 1):
            with pytest.raises(BadInput, match=f"^{to_camel_case(name)}: expected a whole number [<>]= "):
                await configured(context, **{name: wrong})
    assert before == await stored(database)

    for name, ends in RANGES.items():
        for right in ends:
            assert right == getattr(await configured(context, **{name: right}), name)


@pytest.mark.parametrize("changes", [{}, {"options": {"x": "y" * 20_000}}])
async def test_nothing_or_too_much_is_refused(changes: dict[str, Any], context: Context, database: Database) -> None:
    before = await stored(database)

    with pytest.raises(BadInput):
        await configured(context, **changes)

    assert before == await stored(database)


async def test_an_agent_that_is_not_there_is_not_found(context: Context) -> None:
    for ask in (
        act(context, "agent.start", agent_id="nobody"),
        act(context, "agent.stop", agent_id="nobody"),
        act(context, "agent.configure", agent_id="nobody", timeout_s=9),
    ):
        with pytest.raises(NotFound, match="there is no agent nobody"):
            await ask
