"""The agents of a tenant: which there are, whether they are on, how they are configured, and how they do.

How they do is taken from counters, from what runs just now, and from a bounded number of the newest steps, so it costs
no more because there were more of them.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from db import events
from db.database import Transaction
from db.events import Kind
from db.jobs import JOB, Job
from db.models.work import AgentCategory, AgentPriority, JobStatus, StepStatus, agents, jobs, processing_steps
from db.pages import Order, Page, Window, page, total
from db.rows import Row, Shape

RUNS: Final = 1000
"""How many of an agent's newest steps that ended its record is taken from."""

IN_A_ROW: Final = 3
"""So many runs that failed one after the other are no chance any more."""


class AgentStatus(StrEnum):
    """Whether an agent is on."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class AgentAvailability(StrEnum):
    """Whether an agent could begin a step."""

    AVAILABLE = "available"
    BUSY = "busy"
    """It works on as many as it may."""

    DISABLED = "disabled"
    """It is switched off."""

    NO_WORKER = "no_worker"
    """Nobody is there to run it."""


class Agent(Row, frozen=True):
    """An agent as configured."""

    id: str
    implementation: str
    """Id of the built-in or installed agent that does the work; equal to `id` for built-in ones."""

    name: str
    category: AgentCategory
    description: str
    version: str
    enabled: bool
    auto_start: bool
    max_concurrent: int
    """Most steps of this agent at once over all workers."""

    timeout_s: int
    retry_attempts: int
    """How often a job is tried again when this agent fails in a way that may pass."""

    priority: AgentPriority
    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None
    options: dict[str, Any]
    revision: int
    """Raised by every change of the configuration."""

    updated_at: datetime

    @property
    def status(self) -> AgentStatus:
        """Whether it is on."""
        return AgentStatus.ACTIVE if self.enabled else AgentStatus.INACTIVE

    def availability(self, running: int, *, workers: bool) -> AgentAvailability:
        """Whether it could begin a step.

        Args:
            running: how many it works on.
            workers: whether there is a worker.
        """
        if not self.enabled:
            return AgentAvailability.DISABLED
        if not workers:
            return AgentAvailability.NO_WORKER
        return AgentAvailability.BUSY if running >= self.max_concurrent else AgentAvailability.AVAILABLE


class Known(Row, frozen=True):
    """What the code knows of an agent; written over the row at start-up, never over its configuration."""

    id: str
    name: str
    category: AgentCategory
    description: str
    version: str
    timeout_s: int
    capabilities: tuple[str, ...] = ()
    """What it can do, in words that programs compare."""


class Load(Row, frozen=True):
    """What an agent has to do."""

    agent_id: str
    running: int
    """Steps it works on."""

    waiting: int
    """Jobs whose turn is its, whosever they are."""


class Record(Row, frozen=True):
    """How the newest runs of an agent went; a job that was tried again counts as it went the last time."""

    agent_id: str
    runs: int
    """Of its newest `RUNS` steps that ended, those that it was at; so are the others."""

    completed: int
    failed: int
    skipped: int
    p50_s: float | None
    """How long completed ones took, in seconds; null when none was."""

    p95_s: float | None
    average_s: float | None
    since: datetime | None
    """When the oldest of them ended; null when there is none."""


class Trouble(Row, frozen=True):
    """What went wrong with an agent last, among its newest `RUNS` steps that ended."""

    agent_id: str
    failing: bool
    """Whether each of its last `IN_A_ROW` runs failed."""

    last_error_at: datetime | None
    last_error: str | None
    """The words of it; None also when the job is not the reader's."""


class Filter(Row, frozen=True, kw_only=True):
    """Which agents; every part that is set must hold."""

    categories: Collection[AgentCategory] = ()
    enabled: bool | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        """The same as SQL."""
        found: list[sa.ColumnElement[bool]] = []
        if self.categories:
            found.append(agents.c.category.in_(self.categories))
        if self.enabled is not None:
            found.append(agents.c.enabled.is_(self.enabled))
        return found


AGENT = Shape(Agent, agents)

_LAST_ACTIVE = sa.text(
    "SELECT agents.id, greatest("
    "(SELECT max(finished_at) FROM processing_steps AS done "
    "WHERE done.tenant_id = agents.tenant_id AND done.agent_id = agents.id), "
    "(SELECT max(started_at) FROM processing_steps AS running WHERE running.tenant_id = agents.tenant_id "
    "AND running.agent_id = agents.id AND running.status = 'processing')) FROM agents"
)

# Agent by agent, so that the little index of what runs is used whatever the planner takes the statuses for.
_LOADS = sa.text(
    "SELECT agents.id, (SELECT count(*) FROM processing_steps AS step WHERE step.tenant_id = agents.tenant_id "
    "AND step.agent_id = agents.id AND step.status = 'processing'), coalesce(waiting.jobs, 0) FROM agents "
    "LEFT JOIN (SELECT agent_id, sum(jobs)::bigint AS jobs FROM job_gauges WHERE status = 'queued' GROUP BY 1) "
    "AS waiting ON waiting.agent_id = agents.id WHERE agents.id = ANY(CAST(:ids AS text[]))"
)

# The limit stands inside, below the question how they ended: however many were cancelled, no more are read.
_RAN = (
    "SELECT * FROM (SELECT job_id, status, message, started_at, finished_at FROM processing_steps AS step "
    "WHERE step.tenant_id = agents.tenant_id AND step.agent_id = agents.id AND step.finished_at IS NOT NULL "
    "ORDER BY step.finished_at DESC LIMIT :most) AS ended WHERE status IN ('completed', 'failed', 'skipped')"
)
_RECORDS = sa.text(
    "SELECT agents.id, count(ran.status), count(*) FILTER (WHERE completed), count(*) FILTER (WHERE failed), "
    "count(*) FILTER (WHERE skipped), percentile_cont(0.5) WITHIN GROUP (ORDER BY run_s) FILTER (WHERE completed), "
    "percentile_cont(0.95) WITHIN GROUP (ORDER BY run_s) FILTER (WHERE completed), "
    "avg(run_s) FILTER (WHERE completed), min(finished_at) FROM agents "
    "LEFT JOIN LATERAL (SELECT status, finished_at, extract(epoch FROM finished_at - started_at)::float8 AS run_s, "
    "status = 'completed' AS completed, status = 'failed' AS failed, status = 'skipped' AS skipped "
    f"FROM ({_RAN}) AS newest) AS ran ON true WHERE agents.id = ANY(CAST(:ids AS text[])) GROUP BY agents.id"
)
_TROUBLES = sa.text(
    "SELECT agents.id, coalesce(streak.failing, false), bad.finished_at, "
    "CASE WHEN CAST(:owner AS uuid) IS NULL OR jobs.user_id = CAST(:owner AS uuid) THEN bad.message END FROM agents "
    "LEFT JOIN LATERAL (SELECT count(*) = :in_a_row AND bool_and(status = 'failed') AS failing "
    f"FROM (SELECT status FROM ({_RAN}) AS newest ORDER BY finished_at DESC LIMIT :in_a_row) AS last) AS streak "
    "ON true "
    "LEFT JOIN LATERAL (SELECT job_id, finished_at, message "
    f"FROM ({_RAN}) AS newest WHERE status = 'failed' ORDER BY finished_at DESC LIMIT 1) AS bad ON true "
    "LEFT JOIN jobs ON jobs.id = bad.job_id WHERE agents.id = ANY(CAST(:ids AS text[]))"
)


def source_of(agent_id: str) -> str:
    """Under which name an agent's steps are written into the log; no process is called so."""
    return f"agent:{agent_id}"


async def by_id(tx: Transaction, agent_id: str) -> Agent | None:
    """One agent, or None."""
    return await AGENT.first(tx, AGENT.select().where(agents.c.id == agent_id))


async def for_change(tx: Transaction, agent_id: str) -> Agent | None:
    """One agent, which nobody else changes until this transaction ends; None when there is no such agent."""
    return await AGENT.first(tx, AGENT.select().where(agents.c.id == agent_id).with_for_update())


async def by_ids(tx: Transaction, ids: Collection[str]) -> list[Agent]:
    """The agents of those ids that exist, in no order."""
    return await AGENT.all(tx, AGENT.select().where(agents.c.id.in_(ids)))


async def everyone(tx: Transaction) -> list[Agent]:
    """All agents of the tenant, by category and id."""
    return await AGENT.all(tx, AGENT.select().order_by(agents.c.category, agents.c.id))


async def listed(tx: Transaction, wanted: Filter, order: Order, window: Window) -> Page[Agent]:
    """One page of agents.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    return await page(tx, AGENT, where=wanted.clauses(), order=order, window=window)


async def how_many(tx: Transaction, wanted: Filter) -> int:
    """How many agents a filter selects."""
    return await total(tx, AGENT, wanted.clauses())


async def settle(tx: Transaction, known: Sequence[Known]) -> None:
    """Bring the descriptions of the tenant's agents up to the code's, adding those it has not got."""
    fresh = insert(agents).values(
        [
            {
                "tenant_id": tx.tenant,
                "id": agent.id,
                "implementation": agent.id,
                "name": agent.name,
                "category": agent.category,
                "description": agent.description,
                "version": agent.version,
                "timeout_s": agent.timeout_s,
            }
            for agent in known
        ]
    )
    told = {name: fresh.excluded[name] for name in ("name", "category", "description", "version")}
    other = sa.or_(*(agents.c[name].is_distinct_from(value) for name, value in told.items()))
    key = [agents.c.tenant_id, agents.c.id]
    settled = fresh.on_conflict_do_update(index_elements=key, set_=told, where=other)
    # A tenant's first agents come with it, and are news to nobody.
    had_some = await how_many_there_are(tx) > 0
    changed = await tx.rows(settled.returning(agents.c.id, agents.c.enabled, agents.c.revision))
    if had_some:
        await _announce(tx, {key: {"enabled": on, "revision": revision} for key, on, revision in changed})


async def running_steps(tx: Transaction) -> dict[str, int]:
    """How many steps each agent is working on; agents without any are absent."""
    counted = await tx.rows(
        sa.select(processing_steps.c.agent_id, sa.func.count())
        .where(processing_steps.c.status == StepStatus.PROCESSING)
        .group_by(processing_steps.c.agent_id)
    )
    return dict(counted)


async def last_active(tx: Transaction) -> dict[str, datetime]:
    """When each agent last began or ended a step; agents that never did are absent."""
    return {agent_id: at for agent_id, at in await tx.rows(_LAST_ACTIVE) if at is not None}


async def loads(tx: Transaction, ids: Collection[str]) -> list[Load]:
    """What agents have to do, from what runs and from the counters of jobs."""
    return [Load(*row) for row in await tx.rows(_LOADS, {"ids": list(ids)})]


async def records(tx: Transaction, ids: Collection[str]) -> list[Record]:
    """How the newest runs of agents went; each that there is has one."""
    return [Record(*row) for row in await tx.rows(_RECORDS, {"ids": list(ids), "most": RUNS})]


async def troubles(tx: Transaction, ids: Collection[str], *, owner: UUID | None = None) -> list[Trouble]:
    """What went wrong with agents last; each that there is has one.

    Args:
        owner: whose jobs alone are spoken of in words; None for all of the tenant's.
    """
    asked = {"ids": list(ids), "most": RUNS, "in_a_row": IN_A_ROW, "owner": owner}
    return [Trouble(*row) for row in await tx.rows(_TROUBLES, asked)]


async def waiting_for(
    tx: Transaction, agent_ids: Collection[str], *, most: int, skipped: int = 0, owner: UUID | None = None
) -> list[Job]:
    """Queued jobs whose turn is that of one of these agents, of each agent `most`, in the order of their turns.

    Args:
        skipped: how many of each agent's are left out at the beginning.
    """
    wanted = (
        sa.func.unnest(sa.literal(list(agent_ids), ARRAY(sa.Text)))
        .table_valued("agent_id", name="wanted")
        .render_derived()
    )
    turns = (
        sa.select(jobs.c.id)
        .where(*_waiting(owner), jobs.c.current_step == wanted.c.agent_id)
        .order_by(jobs.c.priority.desc(), jobs.c.run_at, jobs.c.id)
        .offset(skipped)
        .limit(most)
        .lateral("turns")
    )
    found = sa.select(turns.c.id).select_from(wanted.join(turns, sa.true()))
    statement = JOB.select().where(jobs.c.id.in_(found))
    return await JOB.all(tx, statement.order_by(jobs.c.priority.desc(), jobs.c.run_at, jobs.c.id))


async def how_many_wait_for(tx: Transaction, agent_ids: Collection[str], *, owner: UUID | None) -> dict[str, int]:
    """How many queued jobs are those of each agent's turn; agents that none waits for are absent."""
    counted = await tx.rows(
        sa.select(jobs.c.current_step, sa.func.count())
        .where(*_waiting(owner), jobs.c.current_step.in_(agent_ids))
        .group_by(jobs.c.current_step)
    )
    return dict(counted)


async def mark_enabled(tx: Transaction, agent_id: str, *, enabled: bool) -> Agent | None:
    """Switch an agent on or off; None when there is no such agent."""
    return await _changed(tx, agent_id, {"enabled": enabled})


async def configure(tx: Transaction, agent_id: str, changes: Mapping[str, Any]) -> Agent | None:
    """Change some of an agent's configuration columns; None when there is no such agent."""
    return await _changed(tx, agent_id, changes)


def _waiting(owner: UUID | None) -> list[sa.ColumnElement[bool]]:
    theirs = [] if owner is None else [jobs.c.user_id == owner]
    return [jobs.c.status == JobStatus.QUEUED, *theirs]


async def _changed(tx: Transaction, agent_id: str, values: Mapping[str, Any]) -> Agent | None:
    statement = (
        sa.update(agents)
        .where(agents.c.id == agent_id)
        .values(**values, revision=agents.c.revision + 1, updated_at=sa.func.now())
    )
    agent = await AGENT.first(tx, statement.returning(*AGENT.columns))
    if agent is not None:
        await _announce(tx, {agent.id: {"enabled": agent.enabled, "revision": agent.revision}})
    return agent


async def how_many_there_are(tx: Transaction) -> int:
    """How many agents the tenant has, switched on or not."""
    return await total(tx, AGENT, [])


async def add_alias(
    tx: Transaction, of: Agent, agent_id: str, *, name: str, category: AgentCategory, options: Mapping[str, Any]
) -> Agent | None:
    """An agent of the tenant's own that does what a built-in one does, in its own way; None when the id is taken."""
    fresh = insert(agents).values(
        tenant_id=tx.tenant,
        id=agent_id,
        implementation=of.implementation,
        name=name,
        category=category,
        description=of.description,
        version=of.version,
        timeout_s=of.timeout_s,
        options=dict(options),
    )
    made = await AGENT.first(tx, fresh.on_conflict_do_nothing().returning(*AGENT.columns))
    if made is not None:
        await _announce(tx, {made.id: {"enabled": made.enabled, "revision": made.revision}})
    return made


async def needed_by(tx: Transaction, agent_id: str) -> int:
    """How many jobs that are not over have an agent in their chain."""
    wanted = jobs.c.status.in_((JobStatus.QUEUED, JobStatus.PROCESSING)), sa.literal(agent_id) == sa.any_(jobs.c.chain)
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(jobs).where(*wanted))
    return counted


async def remove(tx: Transaction, agent_id: str) -> bool:
    """Remove an agent of the tenant's own; False for a built-in one, and for none."""
    own = agents.c.id == agent_id, agents.c.implementation != agents.c.id
    removed = await tx.changed(sa.delete(agents).where(*own)) == 1
    if removed:
        await _announce(tx, {agent_id: {"removed": True}})
    return removed


async def announce_cleared(tx: Transaction, jobs_by_agent: Mapping[str, int]) -> None:
    """Tell of agents whose turn was waited for by jobs that were cancelled."""
    await _announce(tx, {agent_id: {"cleared": count} for agent_id, count in jobs_by_agent.items()})


async def _announce(tx: Transaction, changed: Mapping[str, dict[str, Any]]) -> None:
    told = [(agent_id, payload, None, tx.tenant) for agent_id, payload in changed.items()]
    await events.record_all(tx, Kind.AGENT_CHANGED, told)
