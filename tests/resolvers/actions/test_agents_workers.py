"""What of the workers needs no supervisor, and what is refused for want of one, changing nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import sqlalchemy as sa

from db import services as desired
from db import sweeps, workers
from db.database import Database
from db.models.control import TrialState, agent_trials, processes, supervisor, worker_assets, worker_profiles
from db.models.control import services as services_table
from db.models.identity import Role
from db.models.work import WorkerState
from db.workers import Beat
from guards.errors import BadInput, Conflict, Maintenance, NotControllable, NotFound
from resolvers.context import Context, Services
from tests.acting import act, performed
from tests.conftest import People
from tests.uploading import context_of, uploaded, video
from tests.waiting import eventually
from workers.engine import Engine
from workers.pulse import Pulse
from workers.trials import Trials
from workers.turn import Turns

SILENT: Final[list[tuple[str, dict[str, Any]]]] = [
    ("worker.start", {}),
    ("worker.stop", {"worker_id": "worker-1"}),
    ("worker.restart", {}),
    ("worker.kill", {"worker_id": "worker-1", "confirm": True}),
    ("worker.scale_up", {}),
    ("worker.scale_down", {}),
    ("worker.scale", {"count": 2}),
    ("worker.spawn_new", {}),
    ("worker.create_generic", {"name": "shorts", "agent_chain": ["clipper"]}),
    ("worker.restart_all", {}),
    ("worker.stop_all", {}),
    ("worker.pause", {}),
    ("worker.resume", {}),
    ("worker.configure", {"max_jobs": 2}),
    ("agent.test", {"agent_id": "clipper"}),
    ("service.start", {"service_id": "workers"}),
    ("service.stop", {"service_id": "warmer"}),
    ("service.restart", {"service_id": "workers"}),
    ("service.restart_all", {}),
    ("service.start", {"service_id": "websocket"}),
    ("service.stop", {"service_id": "scheduler"}),
    ("service.restart", {"service_id": "managers"}),
    ("system.restart", {}),
    ("system.graceful_shutdown", {}),
    ("system.restart_with_config", {}),
]
TABLES = (supervisor, services_table, processes, worker_profiles, agent_trials)


async def counts(database: Database) -> list[int]:
    async with database.system() as tx:
        return [await tx.scalar(sa.select(sa.func.count()).select_from(table)) for table in TABLES]


async def is_refused(admin: Context, action: str, given: dict[str, Any]) -> bool:
    """Whether nobody here could carry it out."""
    try:
        await performed(admin, action, **given)
    except NotControllable:
        return True
    return False


async def test_without_anybody_who_could_it_is_refused_and_nothing_is_changed(
    admin: Context, database: Database
) -> None:
    before = await counts(database)
    refused = [action for action, given in SILENT if await is_refused(admin, action, given)]

    assert [action for action, _ in SILENT] == refused
    assert before == await counts(database)


async def test_a_supervisor_that_fell_silent_counts_as_none(admin: Context, database: Database) -> None:
    async with database.system() as tx:
        await desired.take_charge(tx, id="gone", hostname="studio", pid=7, version="5")
        await desired.begin(tx, [desired.NewProcess(name="worker-1", service=desired.Service.WORKERS)])
        await tx.execute(sa.update(supervisor).values(heartbeat_at=sa.func.now() - desired.SILENT_AFTER))
    before = await counts(database)

    with pytest.raises(NotControllable, match="no supervisor was heard of"):
        await act(admin, "worker.start", count=2)

    assert before == await counts(database)


async def test_a_worker_of_another_machine_is_not_controlled_from_here(admin: Context, database: Database) -> None:
    async with database.system() as tx:
        await desired.take_charge(tx, id="here", hostname="studio", pid=7, version="5")
        await desired.begin(tx, [desired.NewProcess(name="worker-1", service=desired.Service.WORKERS)])
        await workers.beat(tx, _said("far-1", hostname="elsewhere"))

    with pytest.raises(NotControllable, match="runs on elsewhere under pid 7"):
        await act(admin, "worker.kill", worker_id="far-1", confirm=True)

    async with database.system() as tx:
        [process] = await desired.everything(tx)
    assert (None, 1) == (process.kill_pid, process.generation)


async def test_what_is_never_stopped_by_an_action_says_so(admin: Context) -> None:
    for service_id in ("api-server", "database", "redis-queue"):
        for action in ("service.start", "service.stop", "service.restart"):
            with pytest.raises(Conflict, match="start"):
                await act(admin, action, service_id=service_id)


async def test_stores_are_probed_without_a_supervisor(admin: Context) -> None:
    found = await act(admin, "service.health_check", service_id="database")

    [database] = found.services
    assert (False, "database", "running") == (found.supervisor, database.service_id, database.state)
    assert database.latency_ms > 0


async def test_a_file_is_kept_in_versions_and_outlasts_its_upload(
    services: Services, people: People, database: Database
) -> None:
    admin = context_of(services, people[Role.ADMIN])
    first = await uploaded(context_of(services, people[Role.ADMIN]), video(3_000))
    second = await uploaded(context_of(services, people[Role.ADMIN]), video(4_000))

    one = await act(admin, "worker.upload_files", upload_id=str(first.id), target="templates")
    with pytest.raises(Conflict, match="has version 1"):
        await act(admin, "worker.upload_files", upload_id=str(second.id), target="templates")
    two = await act(admin, "worker.upload_files", upload_id=str(second.id), target="templates", overwrite=True)

    assert [(1, first.sha256), (2, second.sha256)] == [(each.version, each.sha256) for each in (one, two)]
    assert first.path is not None
    async with database.system() as tx:
        await tx.execute(sa.text("DELETE FROM uploads"))
        assert {first.path} == await sweeps.referred_to(tx, [first.path])
        await tx.execute(sa.delete(worker_assets))
        assert set() == await sweeps.referred_to(tx, [first.path])


async def test_a_file_of_somebody_else_or_nobody_is_not_found(
    services: Services, people: People, other_people: People
) -> None:
    theirs = await uploaded(context_of(services, other_people[Role.ADMIN]), video(3_000))

    with pytest.raises(NotFound):
        await act(
            context_of(services, people[Role.ADMIN]), "worker.upload_files", upload_id=str(theirs.id), target="models"
        )


@pytest.fixture(autouse=True)
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that look for orders more often than twice a second."""
    monkeypatch.setattr("workers.pulse.LOOK_EVERY_S", 0.05)


@asynccontextmanager
async def pulsing(services: Services, worker_id: str = "w1") -> AsyncIterator[Engine]:
    """A worker in this process that takes jobs of nobody, but obeys, and tries agents."""
    turns = Turns(services.database, services.files, {})
    engine = Engine(services.database, turns.take, worker_id=worker_id, concurrency=1)
    trials = Trials(services.database, {}, worker_id=worker_id, defaults={})
    task = asyncio.create_task(Pulse(services.database, engine, turns, trials, name=None, version="5").run())
    try:
        await eventually(lambda: _on_duty(services), bool)
        yield engine
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_workers_without_a_supervisor_are_configured_until_they_end(admin: Context, services: Services) -> None:
    async with pulsing(services) as engine:
        configured = await act(admin, "worker.configure", max_jobs=5, queues=["default", "default"])

    assert (5, ("default",)) == (engine.concurrency, engine.queues)
    assert ({"max_jobs": 5, "queues": ["default"]}, [], False) == (
        configured.applied,
        configured.requires_restart,
        configured.kept,
    )


async def test_what_a_worker_does_not_take_over_is_told(
    admin: Context, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, but of a version that knows nothing of settings."""
    monkeypatch.setattr("resolvers.actions.agents_workers.workers.OBEYED_S", 0.5)
    async with database.system() as tx:
        await workers.beat(tx, _said("old"))

    configured = await act(admin, "worker.configure", max_jobs=5)

    assert ({}, ["max_jobs"]) == (configured.applied, configured.requires_restart)


async def test_what_cannot_be_configured_is_named(admin: Context, services: Services) -> None:
    async with pulsing(services):
        with pytest.raises(BadInput, match="there is no queue nowhere"):
            await act(admin, "worker.configure", queues=["nowhere"])
        with pytest.raises(BadInput, match="at least one thing"):
            await act(admin, "worker.configure")
        with pytest.raises(NotFound, match="there is no worker nobody"):
            await act(admin, "worker.configure", worker_id="nobody", max_jobs=1)


async def test_a_paused_worker_is_asked_to_try_nothing(admin: Context, services: Services) -> None:
    async with pulsing(services):
        paused = await act(admin, "worker.pause", worker_id="w1")
        with pytest.raises(NotControllable, match="all are paused"):
            await act(admin, "agent.test", agent_id="clipper")
        resumed = await act(admin, "worker.resume", worker_id="w1")

    assert (["w1"], ["w1"]) == (paused.paused, resumed.resumed)


async def test_no_agent_is_tried_in_an_emergency_or_during_maintenance(
    admin: Context, services: Services, database: Database
) -> None:
    async with pulsing(services):
        await act(admin, "system.emergency_stop", reason="smoke", confirm="EMERGENCY STOP")
        with pytest.raises(Conflict, match="takes no jobs on just now: smoke"):
            await act(admin, "agent.test", agent_id="clipper")
        await act(admin, "system.emergency_stop", reason="smoke", confirm="EMERGENCY STOP", lift=True)
        await act(admin, "system.maintenance", enable=True)
        with pytest.raises(Maintenance):
            await act(admin, "agent.test", agent_id="clipper")

    async with database.system() as tx:
        assert 0 == await tx.scalar(sa.select(sa.func.count()).select_from(agent_trials))


async def test_an_agent_that_no_worker_knows_does_not_pass(admin: Context, services: Services) -> None:
    async with pulsing(services):
        answered = await performed(admin, "agent.test", agent_id="clipper")

    tested = answered.result
    assert tested is not None
    assert (False, TrialState.FAILED, "w1", "there is no agent clipper in this worker") == (
        tested.passed,
        tested.outcome,
        tested.worker_id,
        tested.message,
    )


async def test_there_is_no_health_of_a_worker_that_never_was(admin: Context) -> None:
    with pytest.raises(NotFound):
        await act(admin, "worker.health_check", worker_id="nobody")
    with pytest.raises(NotFound):
        await act(admin, "worker.view_logs", worker_id="nobody")


async def _on_duty(services: Services) -> list[workers.OnDuty]:
    async with services.database.system() as tx:
        return await workers.on_duty(tx)


def _said(worker_id: str, *, hostname: str = "studio") -> Beat:
    return Beat(
        id=worker_id,
        hostname=hostname,
        pid=7,
        version="4",
        state=WorkerState.IDLE,
        concurrency=1,
        current_jobs=[],
        jobs_completed=0,
        jobs_failed=0,
        cpu_percent=None,
        memory_mb=None,
    )
