"""Maintenance refuses new work for everybody and ends by itself; the emergency stop ends all work of all tenants."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from db import leases, queues
from db.database import Database
from db.models.identity import Role
from db.models.work import JobStatus, StepStatus
from guards.errors import BadInput, Conflict, Maintenance
from resolvers import uploads
from resolvers.context import Context, Services
from tests.acting import act, refused
from tests.conftest import People
from tests.resolvers.actions.busy import Busy, soon
from tests.standing import found, job_in, steps_of
from tests.uploading import begun, context_of, finalized, sent, streamed, video
from tests.workers.conftest import Bench

TOGGLES = ("dashboard.toggle_maintenance", "system.maintenance_mode_toggle")
URL = {"url": "https://example.org/v.mp4"}
STOP: dict[str, Any] = {"reason": "smoke in the room", "confirm": "EMERGENCY STOP"}
CONTENT = video(2_500)


@pytest.mark.parametrize("name", TOGGLES)
async def test_it_is_turned_on_and_off(name: str, admin: Context, user: Context) -> None:
    on = await act(admin, name, message="new disks")
    assert (True, False, None, "new disks") == (on.maintenance_mode, on.previous, on.until, on.message)
    refusal = await refused(user, "job.create", source=URL)
    assert ("MAINTENANCE", None) == (refusal.code, refusal.retry_after)
    assert "the system is being worked on and takes no new work: new disks" == str(refusal)

    off = await act(admin, name)
    assert (False, True, None, None) == (off.maintenance_mode, off.previous, off.until, off.message)
    await act(user, "job.create", source=URL)


async def test_it_is_what_was_asked_for_however_often(admin: Context) -> None:
    for enable, before in ((True, False), (True, True), (False, True), (False, False)):
        done = await act(admin, "system.maintenance_mode_toggle", enable=enable)
        assert (enable, before) == (done.maintenance_mode, done.previous)


async def test_older_clients_enter_and_exit(admin: Context) -> None:
    entered = await act(admin, "system.maintenance", older=True, action="enter", duration_minutes="5")
    left = await act(admin, "system.maintenance", older=True, action="exit")

    assert (True, False) == (entered.maintenance_mode, left.maintenance_mode)
    for older, given in ((True, {"action": "leave"}), (False, {"action": "enter"}), (False, {})):
        with pytest.raises(BadInput):
            await act(admin, "system.maintenance", older=older, **given)


async def test_it_ends_by_itself_and_says_when(admin: Context, user: Context, database: Database) -> None:
    on = await act(admin, "system.maintenance", enable=True, duration_minutes=10)
    assert timedelta(minutes=9) < on.until - datetime.now(UTC) <= timedelta(minutes=10)
    refusal = await refused(user, "job.create", source=URL)
    assert 540 < (refusal.retry_after or 0) <= 600

    async with database.system() as tx:
        await tx.execute(sa.text("UPDATE house SET until = now() - interval '1 second'"))

    await act(user, "job.create", source=URL)
    again = await act(admin, "dashboard.toggle_maintenance")
    assert (True, False) == (again.maintenance_mode, again.previous)


async def test_no_new_work_is_taken_from_anybody(
    admin: Context, services: Services, people: People, other_people: People, database: Database
) -> None:
    """Whatever the role, and in every tenant."""
    failed = await job_in(database, JobStatus.FAILED)
    await act(admin, "system.maintenance", enable=True)

    for who in (*people.values(), *other_people.values()):
        context = context_of(services, who)
        assert "MAINTENANCE" == (await refused(context, "job.create", source=URL)).code
        begins = await refused(context, "upload.init", filename="a.mp4", size_bytes=9)
        assert "MAINTENANCE" == begins.code
    assert "MAINTENANCE" == (await refused(admin, "job.retry", job_id=str(failed))).code
    assert "MAINTENANCE" == (await refused(admin, "dashboard.restart_failed_jobs")).code
    assert "MAINTENANCE" == (await refused(admin, "job.update_status", job_id=str(failed), status="queued")).code


async def test_an_upload_goes_on_where_it_was_afterwards(admin: Context, user: Context) -> None:
    upload = await sent(user, await begun(user, CONTENT, 1000), CONTENT, 0)
    await act(admin, "system.maintenance", enable=True)

    with pytest.raises(Maintenance):
        await uploads.receive(user, upload.id, 1, streamed(CONTENT[1000:2000]))
    assert "MAINTENANCE" == (await refused(user, "upload.finalize", upload_id=str(upload.id))).code

    await act(admin, "system.maintenance", enable=False)
    await sent(user, upload, CONTENT, 1, 2)
    assert 100 == (await finalized(user, upload.id)).progress


async def test_what_waits_or_runs_goes_on(admin: Context, bench: Bench) -> None:
    busy = Busy()
    bench.acts["video-analyzer"] = busy
    async with bench.at_work():
        running, waiting = await bench.submitted(priority=9), await bench.submitted()
        await soon(busy.begun)
        await act(admin, "system.maintenance", enable=True)
        busy.done.set()

        for job in (running, waiting):
            await bench.until(job.id, JobStatus.COMPLETED)


async def test_of_two_toggles_at_once_each_sees_the_other(admin: Context, services: Services, people: People) -> None:
    twin = context_of(services, people[Role.ADMIN])

    ends = await asyncio.gather(*(act(each, "dashboard.toggle_maintenance") for each in (admin, twin)))

    assert {(True, False), (False, True)} == {(end.maintenance_mode, end.previous) for end in ends}


# system.emergency_stop


async def test_all_work_of_all_tenants_stops(
    admin: Context, services: Services, other_people: People, bench: Bench
) -> None:
    busy, stranger = Busy(), context_of(services, other_people[Role.OPERATOR])
    bench.acts["video-analyzer"] = busy
    database = bench.database
    foreign = await job_in(database, JobStatus.PROCESSING, tenant="other")
    async with bench.at_work():
        running, waiting = await bench.submitted(priority=9), await bench.submitted()
        await soon(busy.begun)

        would = await act(admin, "system.emergency_stop", **STOP, dry_run=True)
        assert (2, 2, False, True) == (would.jobs_aborted, would.queues, would.queue_paused, would.dry_run)
        assert not busy.ended.is_set()
        stopped = await act(admin, "system.emergency_stop", **STOP)

        assert (True, True, 2, 2) == (
            stopped.queue_paused,
            stopped.refusing_new,
            stopped.jobs_aborted,
            stopped.queues,
        )
        await soon(busy.ended)

    assert [StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.CANCELLED] == await steps_of(database, running.id)
    elsewhere = await found(database, foreign, tenant="other")
    assert elsewhere is not None
    assert (JobStatus.CANCELLED, JobStatus.CANCELLED, JobStatus.QUEUED) == (
        elsewhere.status,
        (await bench.found(running.id)).status,
        (await bench.found(waiting.id)).status,
    )
    async with database.system() as tx:
        assert [] == await leases.claim(tx, "w2", most=10)
    for context in (admin, stranger):
        refusal = await refused(context, "job.create", source=URL)
        told = "the queue takes no jobs on just now: smoke in the room"
        assert (Conflict, told) == (type(refusal), str(refusal))
        pausing = await refused(context, "queue.pause", duration_minutes=1)
        assert "the queue was stopped in an emergency: resume it first" == str(pausing)


async def test_each_tenant_resumes_its_own_queue(
    admin: Context, services: Services, other_people: People, database: Database
) -> None:
    await act(admin, "system.emergency_stop", **STOP)
    stranger = context_of(services, other_people[Role.OPERATOR])

    await act(stranger, "queue.resume")

    await act(stranger, "job.create", source=URL)
    assert "CONFLICT" == (await refused(admin, "job.create", source=URL)).code


async def test_the_stop_is_lifted_for_those_it_stopped(
    admin: Context, services: Services, other_people: People, database: Database
) -> None:
    """A queue that its people resumed, and paused again for reasons of their own, stays paused."""
    stranger = context_of(services, other_people[Role.OPERATOR])
    await act(admin, "system.emergency_stop", **STOP)
    await act(stranger, "queue.resume")
    await act(stranger, "queue.pause", reason="lunch")

    assert 1 == (await act(admin, "system.emergency_stop", **STOP, lift=True, dry_run=True)).queues
    lifted = await act(admin, "system.emergency_stop", **STOP, lift=True)

    assert (False, False, 0, 1) == (lifted.queue_paused, lifted.refusing_new, lifted.jobs_aborted, lifted.queues)
    await act(admin, "job.create", source=URL)
    async with database.transaction("other") as tx:
        state = await queues.state(tx)
    assert state is not None
    assert (True, "lunch") == (state.paused, state.reason)


@pytest.mark.parametrize(
    "given",
    [
        {"reason": "smoke"},
        {"reason": "smoke", "confirm": "emergency stop"},
        {"reason": "smoke", "confirm": "EMERGENCY STOP!"},
        {"reason": "ab", "confirm": "EMERGENCY STOP"},
        {"confirm": "EMERGENCY STOP"},
    ],
)
async def test_an_emergency_must_be_meant(given: dict[str, Any], admin: Context, database: Database) -> None:
    await job_in(database, JobStatus.PROCESSING)

    assert "VALIDATION_ERROR" == (await refused(admin, "system.emergency_stop", **given)).code
