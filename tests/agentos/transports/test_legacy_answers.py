"""What a legacy socket asks and follows, spoken message by message with the real server, and what it is told."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from agentos.transports.legacy_sockets import MOST_JOBS, LegacySockets
from db import events, jobs, leases, queues, workers
from db.database import Database
from db.events import Kind
from db.models.identity import Role
from db.models.work import StepStatus, WorkerState
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.legacy import AGENT, asked, heard, legacy_socket, plain, queued
from tests.conftest import People
from tests.db.test_workers import said
from tests.serving import Served


async def test_a_job_is_followed_to_its_end(
    legacy_server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    owner = people[Role.USER]
    job = await queued(database, tenant, owner.id)
    async with legacy_socket(legacy_server, token_of(owner)) as socket:
        status = await asked(socket, {"type": "subscribe_job", "job_id": str(job.id)}, "job_status")
        async with database.system() as tx:
            [claim] = await leases.claim(tx, "w", most=1)
        told = [plain(await heard(socket, "job_progress_update", "job_status_change"))]
        async with database.transaction(tenant) as tx:
            await leases.begin_step(tx, claim, 0, AGENT)
            await leases.report(tx, claim, 0, share=0.5, percent=50)
        told.append(plain(await heard(socket, "job_progress_update", "job_status_change")))
        async with database.transaction(tenant) as tx:
            await leases.finish_step(tx, claim, 0, StepStatus.COMPLETED)
            await leases.complete(tx, claim)
        told += [plain(await heard(socket, "job_progress_update", "job_status_change")) for _ in range(2)]
        ended = await asked(socket, {"type": "request_job_status", "job_id": str(job.id)}, "job_status")

    step = {"step_name": AGENT, "status": "pending", "duration_seconds": None, "completed_at": None}
    assert {
        "type": "job_status",
        "job_id": str(job.id),
        "status": "queued",
        "progress": 0,
        "current_step": AGENT,
        "created_at": job.created_at.isoformat().replace("+00:00", "Z"),
        "started_at": None,
        "completed_at": None,
        "processing_steps": [step],
    } == status
    about = {"job_id": str(job.id)}
    assert [
        {"type": "job_status_change", **about, "status": "processing", "progress": 0},
        {"type": "job_progress_update", **about, "progress": 50, "current_step": AGENT, "agent_name": AGENT},
        {"type": "job_progress_update", **about, "progress": 100, "current_step": None, "agent_name": None},
        {"type": "job_status_change", **about, "status": "completed", "progress": 100},
    ] == told
    assert ("completed", 100, "completed") == (
        ended["status"],
        ended["progress"],
        ended["processing_steps"][0]["status"],
    )
    assert ended["completed_at"].endswith("Z")
    assert ended["processing_steps"][0]["completed_at"].endswith("Z")


async def test_foreign_jobs_look_missing_and_are_never_told_of(
    legacy_server: Served, database: Database, tenant: str, people: People, other_people: People, token_of: TokenOf
) -> None:
    """What was changed last is the user's own: anything foreign would have come before it."""
    user, stranger = people[Role.USER], other_people[Role.ADMIN]
    own = await queued(database, tenant, user.id)
    foreign = [await queued(database, tenant, people[Role.ADMIN].id)]
    foreign.append(await queued(database, stranger.tenant_id, stranger.id))
    async with (
        legacy_socket(legacy_server, token_of(user)) as socket,
        legacy_socket(legacy_server, token_of(people[Role.ADMIN])) as of_admin,
    ):
        answers = [
            await asked(
                socket, {"type": "subscribe_job", "job_id": job}, "job_not_found", "job_status", "invalid_job_id"
            )
            for job in (*(str(each.id) for each in foreign), str(uuid4()), "5", 5, None, str(own.id))
        ]
        seen = await asked(of_admin, {"type": "subscribe_job", "job_id": str(foreign[0].id)}, "job_status")
        for job in (*foreign, own):
            async with database.transaction(job.tenant_id) as tx:
                await jobs.mark_cancelled(tx, job.id)
        told = plain(await heard(socket, "job_progress_update", "job_status_change"))

    assert [
        *["job_not_found"] * 3,
        *["invalid_job_id"] * 3,
        "job_status",
    ] == [answer["type"] for answer in answers]
    assert "queued" == seen["status"]
    assert {"type": "job_status_change", "job_id": str(own.id), "status": "cancelled", "progress": 0} == told


async def test_a_job_that_was_unsubscribed_from_is_told_no_more_and_a_removed_one_is_gone(
    legacy_server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    left, kept = await queued(database, tenant, None), await queued(database, tenant, None)
    async with legacy_socket(legacy_server, token_of(people[Role.OPERATOR])) as socket:
        for job in (left, kept):
            await asked(socket, {"type": "subscribe_job", "job_id": str(job.id)}, "job_status")
        await socket.say({"type": "unsubscribe_job", "job_id": str(left.id)})
        await asked(socket, {"type": "ping"}, "pong")
        for job in (left, kept):
            async with database.transaction(tenant) as tx:
                await jobs.announce_all(tx, [job], gone=True)
        told = plain(await heard(socket, "job_not_found", "job_status_change", "job_progress_update"))

    assert {"type": "job_not_found", "job_id": str(kept.id)} == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"job_id": "seven"}, "seven"),
        ({"job_id": 7}, None),
        ({"job_id": {"a": [None, True]}}, None),
        ({"job_id": None}, None),
        ({}, None),
    ],
    ids=["text", "number", "object", "null", "missing"],
)
async def test_what_is_no_id_of_a_job_is_told_as_it_was_written_or_not_at_all(
    legacy_server: Served, people: People, token_of: TokenOf, given: dict[str, Any], told: str | None
) -> None:
    async with legacy_socket(legacy_server, token_of(people[Role.USER])) as socket:
        answer = await asked(socket, {"type": "request_job_status", **given}, "invalid_job_id", "error")

    assert {"type": "invalid_job_id", "job_id": told} == answer


async def test_a_socket_follows_so_many_jobs_and_no_more(
    legacy: tuple[Served, LegacySockets], database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    server, sockets = legacy
    sockets.most_jobs = 2
    first, second, third = [await queued(database, tenant, None) for _ in range(3)]
    async with legacy_socket(server, token_of(people[Role.ADMIN])) as socket:
        answers = [
            await asked(socket, {"type": "subscribe_job", "job_id": str(job.id)}, "job_status", "error")
            for job in (first, second, second, third)
        ]
        await socket.say({"type": "unsubscribe_job", "job_id": str(first.id)})
        answers.append(await asked(socket, {"type": "subscribe_job", "job_id": str(third.id)}, "job_status", "error"))

    assert 100 == MOST_JOBS
    assert [*["job_status"] * 3, "error", "job_status"] == [answer["type"] for answer in answers]
    assert "QUOTA_EXCEEDED" == answers[3]["code"]


async def test_numbers_are_told_when_they_have_changed(
    legacy_server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    async with legacy_socket(legacy_server, token_of(people[Role.USER])) as socket:
        await queued(database, tenant, None)
        told = plain(await heard(socket, "queue_stats_update"))
        answered = await asked(socket, {"type": "request_queue_stats"}, "queue_stats")

    assert (1, 1) == (told["queue_length"], told["total_jobs"])
    assert {**answered, "type": "queue_stats_update"} == told


async def test_questions_count_against_the_limits_of_the_user(
    legacy_server: Served, people: People, token_of: TokenOf
) -> None:
    """A hundred a minute, at most a third of them in ten seconds: 34, of which connecting was one."""
    async with legacy_socket(legacy_server, token_of(people[Role.USER])) as socket:
        for _ in range(35):
            await socket.say({"type": "request_queue_stats"})
        answers = [await heard(socket, "queue_stats", "error") for _ in range(35)]

    assert [*["queue_stats"] * 33, "error", "error"] == [answer["type"] for answer in answers]
    assert ("RATE_LIMITED", True) == (answers[-1]["code"], answers[-1]["retry_after"] > 0)


async def test_workers_are_told_of_as_they_change_to_who_may_see_them(
    legacy_server: Served, database: Database, people: People, token_of: TokenOf
) -> None:
    """As they look when they are told of; and the numbers at once, long before they are counted anew anyway."""
    kind, numbers = "worker_status_update", "queue_stats_update"
    async with (
        legacy_socket(legacy_server, token_of(people[Role.READONLY])) as seeing,
        legacy_socket(legacy_server, token_of(people[Role.USER])) as user,
    ):
        async with database.system() as tx:
            await workers.beat(tx, said("w1", WorkerState.IDLE))
        told = [plain(await heard(seeing, kind, numbers)) for _ in range(2)]
        async with database.system() as tx:
            await workers.desire(tx, ["w1"], WorkerState.PAUSED)
            await workers.beat(tx, said("w1", WorkerState.PAUSED))
        told += [plain(await heard(seeing, kind)) for _ in range(2)]
        async with database.system() as tx:
            await workers.forget(tx, silent_for=timedelta(0))
        told.append(plain(await heard(seeing, kind)))
        unseen = await asked(user, {"type": "ping"}, "pong", kind)

    counted = [each["active_workers"] for each in told if each["type"] == numbers]
    statuses = [(each["worker_id"], each["status"]) for each in told if each["type"] == kind]
    assert [1] == counted
    assert [("w1", status) for status in ("idle", "paused", "paused", "offline")] == statuses
    assert "pong" == unseen["type"]


async def test_what_happens_to_the_system_is_told_to_who_may_see_it(
    legacy_server: Served, database: Database, tenant: str, people: People, token_of: TokenOf
) -> None:
    """A user as well as everybody, and nobody what they may not: the answer to a later question comes first."""
    async with (
        legacy_socket(legacy_server, token_of(people[Role.READONLY])) as seeing,
        legacy_socket(legacy_server, token_of(people[Role.USER])) as user,
    ):
        async with database.transaction(tenant) as tx:
            await queues.announce(tx, tenant, paused=True, refusing=False)
            await events.record(tx, Kind.AGENT_CHANGED, "clipper", {"enabled": False, "revision": 2})
            await events.record(tx, Kind.SECURITY_ALERTED, "x", {})
            await events.record(tx, Kind.USER_CHANGED, "x", {"reason": "signed_out"})
        told = [plain(await heard(seeing, "system_event")) for _ in range(2)]
        theirs = [plain(await heard(user, "system_event")) for _ in range(2)]
        await asked(seeing, {"type": "ping"}, "pong", "system_event")
        unseen = await asked(user, {"type": "ping"}, "pong", "system_event")

    assert [
        {
            "type": "system_event",
            "event_type": "queue_changed",
            "event_data": {"id": tenant, "paused": True, "refusing": False},
        },
        {
            "type": "system_event",
            "event_type": "agent_changed",
            "event_data": {"id": "clipper", "enabled": False, "revision": 2},
        },
    ] == told
    assert told == theirs
    assert {"type": "pong"} == unseen
