"""Agents: the code says what they are, operators say how they run, and neither writes over the other."""

from typing import Any

import pytest
import sqlalchemy as sa

from db import agents, events, jobs, leases
from db.agents import Filter, Known
from db.database import Database
from db.events import START, Kind
from db.jobs import NewJob
from db.models.work import AgentCategory, AgentPriority
from db.pages import Order, Window
from workers.agents.roster import ROSTER

CLIPPER = Known("clipper", "Clipper II", AgentCategory.CONTENT, "better", "2", 60)


async def test_agents_are_found_by_id_and_all_together(database: Database) -> None:
    async with database.transaction("default") as tx:
        everyone = await agents.everyone(tx)
        one = await agents.by_id(tx, "clipper")
        some = await agents.by_ids(tx, ["clipper", "nobody"])
        assert await agents.by_id(tx, "nobody") is None

    assert {known.id for known in ROSTER} == {agent.id for agent in everyone}
    order = {str(category): place for place, category in enumerate(AgentCategory)}
    assert everyone == sorted(everyone, key=lambda agent: (order[agent.category], agent.id))
    assert [one] == some


async def test_settling_again_brings_descriptions_and_keeps_the_configuration(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.mark_enabled(tx, "clipper", enabled=False)
        before = await agents.configure(tx, "clipper", {"max_concurrent": 2, "timeout_s": 30, "options": {"a": 1}})
        await agents.settle(tx, [CLIPPER])
        after = await agents.by_id(tx, "clipper")

    assert before is not None
    assert after is not None
    assert ("Clipper II", AgentCategory.CONTENT, "better", "2") == (
        after.name,
        after.category,
        after.description,
        after.version,
    )
    assert (False, 2, 30, {"a": 1}, before.revision) == (
        after.enabled,
        after.max_concurrent,
        after.timeout_s,
        after.options,
        after.revision,
    )


async def test_a_new_agent_is_on_with_the_code_s_timeout(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.settle(tx, [Known("new-one", "New", AgentCategory.INPUT, "", "1", 77)])
        made = await agents.by_id(tx, "new-one")

    assert made is not None
    assert (True, 77, "new-one", 1, AgentPriority.NORMAL) == (
        made.enabled,
        made.timeout_s,
        made.implementation,
        made.revision,
        made.priority,
    )


async def test_every_change_raises_the_revision_is_told_and_touches_one_tenant(database: Database) -> None:
    async with database.transaction("default") as tx:
        off = await agents.mark_enabled(tx, "clipper", enabled=False)
        configured = await agents.configure(tx, "clipper", {"priority": AgentPriority.HIGH, "memory_mb": 512})
        assert await agents.mark_enabled(tx, "nobody", enabled=True) is None
        assert await agents.configure(tx, "nobody", {"max_concurrent": 1}) is None
    async with database.transaction("other") as tx:
        theirs = await agents.by_id(tx, "clipper")
    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.AGENT_CHANGED]

    assert off is not None
    assert configured is not None
    assert theirs is not None
    assert (2, False) == (off.revision, off.enabled)
    assert (3, AgentPriority.HIGH, 512) == (configured.revision, configured.priority, configured.memory_mb)
    assert (1, True, AgentPriority.NORMAL) == (theirs.revision, theirs.enabled, theirs.priority)
    assert [("default", "clipper", 2), ("default", "clipper", 3)] == [
        (event.tenant_id, event.entity_id, event.payload["revision"]) for event in told
    ]


async def test_a_configuration_out_of_range_is_refused_and_changes_nothing(database: Database) -> None:
    bad: list[dict[str, Any]] = [
        {"max_concurrent": 0},
        {"max_concurrent": 51},
        {"timeout_s": 0},
        {"timeout_s": 3601},
        {"retry_attempts": -1},
        {"retry_attempts": 11},
    ]
    for changes in bad:
        with pytest.raises(sa.exc.IntegrityError, match="check constraint"):
            async with database.transaction("default") as tx:
                await agents.configure(tx, "clipper", changes)

    async with database.transaction("default") as tx:
        clipper = await agents.by_id(tx, "clipper")
    assert clipper is not None
    assert 1 == clipper.revision


async def test_a_filter_narrows_the_list_and_its_count(database: Database) -> None:
    async with database.transaction("default") as tx:
        await agents.mark_enabled(tx, "clipper", enabled=False)
        for wanted, expected in (
            (Filter(), len(ROSTER)),
            (Filter(enabled=False), 1),
            (Filter(enabled=True), len(ROSTER) - 1),
            (Filter(categories=[AgentCategory.EDITING]), 3),
            (Filter(categories=[AgentCategory.EDITING], enabled=True), 2),
            (Filter(categories=[AgentCategory.INPUT, AgentCategory.AUDIO]), 3),
        ):
            page = await agents.listed(tx, wanted, Order("category", descending=False), Window(size=100))
            assert expected == len(page.items) == await agents.how_many(tx, wanted), wanted


async def test_running_steps_are_counted_by_agent(database: Database) -> None:
    chain = ("video-downloader", "clipper")
    async with database.transaction("default") as tx:
        for _ in range(3):
            await jobs.add(tx, NewJob(user_id=None, source_url="https://v.test", chain=chain))
        before = await agents.running_steps(tx)
    async with database.system() as tx:
        claims = await leases.claim(tx, "w1", most=3)
    async with database.transaction("default") as tx:
        for claim, ordinal in zip(claims, (0, 0, 1), strict=True):
            assert await leases.begin_step(tx, claim, ordinal, chain[ordinal])
        await leases.complete(tx, claims[1])
        after = await agents.running_steps(tx)

    assert ({}, {"clipper": 1}) == (before, {name: count for name, count in after.items() if name == "clipper"})
    # A completed job has no running step, whichever it was in.
    assert {"video-downloader": 1, "clipper": 1} == after
