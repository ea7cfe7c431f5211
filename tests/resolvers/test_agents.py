"""Agents switched and configured, and what is refused before the database could."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from strawberry.utils.str_converters import to_camel_case

from db import agents as rows
from db.agents import Agent
from db.database import Database, Transaction
from db.models.identity import Role
from db.models.work import AgentPriority
from db.redis import Redis
from db.users import User
from guards.errors import BadInput, NotFound
from resolvers.context import Context
from tests.acting import act
from tests.uploading import context_of, services_over
from tests.waiting import until

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


async def several(context: Context, *wanted: dict[str, Any]) -> list[Agent]:
    """Agents after one call that changes several."""
    found: list[Agent] = (await act(context, "agents.configure", agents=list(wanted))).agents
    return found


async def test_several_are_configured_at_once_in_the_order_in_which_they_are_named(
    context: Context, database: Database
) -> None:
    second, first = await several(
        context,
        {"agent_id": "video-cutter", "enabled": False, "memory_mb": 256},
        {"agent_id": "clipper", "max_concurrent": 7},
    )

    assert ("video-cutter", False, 256) == (second.id, second.enabled, second.memory_mb)
    assert ("clipper", 7) == (first.id, first.max_concurrent)
    assert first == await stored(database)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"agent_id": "nobody", "timeout_s": 9}, "there is no agent nobody"),
        ({"agent_id": "clipper", "timeout_s": 9}, "agents: clipper is named twice"),
        ({"agent_id": "video-cutter"}, "agents: say at least one thing that is to be changed of video-cutter"),
        ({"agent_id": "video-cutter", "timeout_s": 0}, "agents[1].timeoutS: expected a whole number >= 1"),
        ({"timeout_s": 9}, "agents[1].agentId: it is needed"),
    ],
)
async def test_of_several_all_are_configured_or_none(
    other: dict[str, Any], told: str, context: Context, database: Database
) -> None:
    before = await stored(database)

    with pytest.raises((BadInput, NotFound)) as refusal:
        await several(context, {"agent_id": "clipper", "timeout_s": 5}, other)

    assert told == str(refusal.value)
    assert before == await stored(database)


async def test_what_is_changed_of_several_is_on_record_but_for_their_options(
    context: Context, database: Database
) -> None:
    await several(context, {"agent_id": "clipper", "timeout_s": 5, "options": {"voice_key": "told nobody"}})

    async with database.system() as tx:
        details = await tx.scalar(sa.text("SELECT details FROM audit WHERE action = 'agents.configure'"))
    assert {"agents": [{"agent_id": "clipper", "timeout_s": 5}]} == details


async def test_a_hidden_option_that_is_given_back_stays_what_it_was(context: Context) -> None:
    """Clients read a configuration, change one thing, and write back all of it."""
    await configured(context, options={"api_key": "k", "voice": {"token": "t", "name": "a"}, "gone": 1})

    again = await configured(context, options={"api_key": "***", "voice": {"token": "***", "name": "b"}, "note": "***"})

    assert {"api_key": "k", "voice": {"token": "t", "name": "b"}, "note": "***"} == again.options


@pytest.mark.parametrize(("read", "secret"), [(rows.for_change, "new"), (rows.by_id, "old")], ids=["held", "control"])
async def test_a_secret_that_is_changed_meanwhile_does_not_become_the_old_one(
    read: Any, secret: str, context: Context, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gives hidden options back waits for whoever changes them just now; without that it would."""
    monkeypatch.setattr(rows, "for_change", read)
    await configured(context, options={"api_key": "old"})

    async with asyncio.TaskGroup() as group, database.transaction("default") as tx:
        await rows.configure(tx, "clipper", {"options": {"api_key": "new"}})
        giving_back = group.create_task(configured(context, options={"api_key": "***", "fps": 25}))
        async with database.system() as looking:
            await until(partial(_somebody_waits, looking))

    assert {"api_key": secret, "fps": 25} == giving_back.result().options


async def _somebody_waits(tx: Transaction) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    return bool(await tx.scalar(sa.text(waiting)))
