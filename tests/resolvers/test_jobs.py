"""Jobs made, cancelled and retried, and everything that is refused with nothing changed."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import jobs as rows
from db import queues, tunables, uploads
from db.database import Database, Transaction
from db.jobs import Job, NewJob
from db.models.identity import Role
from db.models.work import JobStatus, StepStatus, jobs, queue_states
from db.redis import Redis
from db.uploads import NewUpload
from db.users import User
from guards.errors import BadInput, Conflict, NotFound, RateLimited, Refusal
from resolvers import appending
from resolvers import jobs as room
from resolvers.context import Context
from resolvers.jobs import Order, Source, Wishes
from tests.acting import act
from tests.uploading import context_of, services_over
from tests.waiting import until
from workers.agents.roster import DEFAULT_CHAIN

People = dict[Role, User]
URL = Source(url="https://example.com/a.mp4")
REFUSED = [
    (Order(source=Source()), "source: name"),
    (Order(source=Source(url="http://a.example", path="b")), "source: name"),
    (Order(source=Source(url="ftp://a.example/b")), "url: an http"),
    (Order(source=Source(url="file:///etc/passwd")), "url: an http"),
    (Order(source=Source(url="http://")), "url: an http"),
    (Order(source=Source(url="http://user:secret@a.example/")), "url: an http"),
    (Order(source=Source(url="http://a.example:99999/")), "url: an http"),
    (Order(source=Source(url="http://[a")), "url: an http"),
    (Order(source=Source(url="http://a.example/\nHost: b")), "url: an http"),
    (Order(source=Source(url="http://a.example/" + "a" * 2000)), "url: an http"),
    (Order(source=Source(path="a.mp4")), "path: files of this server may not be used"),
    (Order(source=URL, title="x" * 201), "title: at most 200"),
    (Order(source=URL, title="a\x07b"), "title: plain text"),
    (Order(source=URL, title="a\u202egp4"), "title: plain text"),
    (Order(source=URL, chain=[]), "chain: 1 to 30"),
    (Order(source=URL, chain=["clipper", "clipper"]), "chain: an agent can have only one turn"),
    (Order(source=URL, chain=["clipper", "nobody"]), "chain: there is no agent nobody"),
    (Order(source=URL, wishes=Wishes(aspect="16/9")), "aspect: "),
    (Order(source=URL, wishes=Wishes(aspect="1:100")), "aspect: "),
    (Order(source=URL, wishes=Wishes(min_seconds=0.5)), "min_seconds: 1 to 600"),
    (Order(source=URL, wishes=Wishes(max_seconds=601)), "max_seconds: 1 to 600"),
    (Order(source=URL, wishes=Wishes(min_seconds=30, max_seconds=20)), "min_seconds: may not be more"),
    (Order(source=URL, wishes=Wishes(max_clips=11)), "max_clips: 1 to 10"),
    (Order(source=URL, wishes=Wishes(max_clips=0)), "max_clips: 1 to 10"),
    (Order(source=URL, wishes=Wishes(platforms=["Tik Tok"])), "platforms: "),
]


@pytest.fixture
def context(database: Database, redis: Redis, people: People, tmp_path: Path) -> Context:
    """An operation of a plain user."""
    return context_of(services_over(database, redis, tmp_path), people[Role.USER])


async def create(context: Context, order: Order) -> Job:
    """A job made of an order."""
    plan = await room.planned(context, order)
    async with context.services.database.transaction(context.caller.tenant) as tx:
        return await room.create(context, tx, plan)


async def cancel(context: Context, job_id: UUID) -> Job:
    """A job that was asked to be cancelled."""
    job: Job = (await act(context, "job.cancel", job_id=str(job_id))).job
    return job


async def retry(context: Context, job_id: UUID, priority: int | None = None) -> Job:
    """A job that is tried again."""
    job: Job = (await act(context, "job.retry", job_id=str(job_id), priority=priority)).job
    return job


async def queued(database: Database, owner: User, status: JobStatus = JobStatus.QUEUED) -> Job:
    """A job of somebody's in some state."""
    async with database.transaction(owner.tenant_id) as tx:
        job = await rows.add(tx, NewJob(user_id=owner.id, source_url="http://a", chain=["clipper"]))
        changes: dict[str, Any] = {"status": status}
        if status is JobStatus.PROCESSING:
            changes["lease_until"] = sa.func.now() + sa.text("interval '1 minute'")
        if status in rows.FINISHED:
            changes["completed_at"] = sa.func.now()
        await tx.execute(sa.update(jobs).where(jobs.c.id == job.id).values(changes))
    return job


async def counted(database: Database) -> tuple[Any, ...]:
    """Jobs, steps and events of them there are."""
    async with database.system() as tx:
        statement = (
            "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM processing_steps), "
            "(SELECT count(*) FROM events WHERE kind = 'job_changed')"
        )
        [row] = await tx.rows(sa.text(statement))
    return row


async def rung(redis: Redis) -> int:
    """How often the workers were rung."""
    return int(await redis.zcard("agentos:doorbell"))


async def test_a_job_is_queued_with_the_usual_chain(context: Context, database: Database, redis: Redis) -> None:
    job = await create(context, Order(source=URL, title="  My\n holiday "))

    assert (JobStatus.QUEUED, "My holiday", list(DEFAULT_CHAIN), 5, {}) == (
        job.status,
        job.title,
        job.chain,
        job.priority,
        job.options,
    )
    assert context.caller.user_id == job.user_id
    assert (1, len(DEFAULT_CHAIN), 1) == await counted(database)
    assert 1 == await rung(redis)


async def test_wishes_are_kept_under_the_names_agents_know(context: Context) -> None:
    wishes = Wishes(aspect="1:1", min_seconds=5, max_seconds=20, max_clips=3, platforms=["tiktok"])

    job = await create(context, Order(source=URL, wishes=wishes, chain=["clipper"], priority=10))

    assert {"aspect": "1:1", "min_s": 5, "max_s": 20, "max_clips": 3, "platforms": ["tiktok"]} == job.options
    assert (["clipper"], "clipper", 10) == (job.chain, job.current_step, job.priority)


async def test_what_does_not_fit_is_refused(context: Context, database: Database) -> None:
    for order, message in REFUSED:
        with pytest.raises(BadInput) as refusal:
            await create(context, order)

        assert str(refusal.value).startswith(message), order
    assert (0, 0, 0) == await counted(database)


async def test_an_upload_must_be_the_callers_and_complete(context: Context, database: Database, people: People) -> None:
    async def begun(owner: User) -> NewUpload:
        new = NewUpload(id=uuid4(), user_id=owner.id, filename="trip to sea.mp4", size_bytes=1, chunk_bytes=1)
        async with database.transaction(owner.tenant_id) as tx:
            await uploads.add(tx, new, quota_bytes=100)
        return new

    mine, other = await begun(people[Role.USER]), await begun(people[Role.ADMIN])
    with pytest.raises(NotFound):
        await create(context, Order(source=Source(upload_id=other.id)))
    with pytest.raises(Conflict):
        await create(context, Order(source=Source(upload_id=mine.id)))
    assert 0 == (await counted(database))[0]

    async with database.transaction("default") as tx:
        done = "UPDATE uploads SET received_bytes = 1, status = 'completed', path = 'default/u' WHERE id = :id"
        await tx.execute(sa.text(done), {"id": mine.id})
    job = await create(context, Order(source=Source(upload_id=mine.id)))

    assert (mine.id, None, "trip to sea") == (job.upload_id, job.source_url, job.title)


async def complete(database: Database, owner: User) -> UUID:
    """A completed upload of somebody's."""
    new = NewUpload(id=uuid4(), user_id=owner.id, filename="a.mp4", size_bytes=1, chunk_bytes=1)
    async with database.transaction(owner.tenant_id) as tx:
        await uploads.add(tx, new, quota_bytes=100)
        done = "UPDATE uploads SET received_bytes = 1, status = 'completed', path = 'default/u' WHERE id = :id"
        await tx.execute(sa.text(done), {"id": new.id})
    return new.id


async def test_a_title_makes_nobody_elses_upload_ones_own(context: Context, database: Database, people: People) -> None:
    other = await complete(database, people[Role.ADMIN])

    with pytest.raises(NotFound):
        await create(context, Order(source=Source(upload_id=other), title="mine"))

    assert 0 == (await counted(database))[0]


async def while_it_is_given_up(context: Context, upload_id: UUID, doing: Coroutine[Any, Any, Job]) -> object:
    """What becomes of something that comes to wait for an upload that is being given up."""
    database = context.services.database
    async with database.transaction(context.caller.tenant) as ending:
        assert await uploads.end(ending, upload_id, owner=context.caller.user_id) is not None
        task = asyncio.gather(doing, return_exceptions=True)
        await until(lambda: holds_up(database, ending))
    return (await task)[0]


async def holds_up(database: Database, tx: Transaction) -> bool:
    """Whether somebody waits for a transaction to end."""
    pid = await tx.scalar(sa.text("SELECT pg_backend_pid()"))
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))")
    async with database.system() as looking:
        return bool(await looking.scalar(waiting, {"pid": pid}))


async def test_of_an_upload_that_is_given_up_just_now_no_job_is_made(
    context: Context, database: Database, people: People
) -> None:
    mine = await complete(database, people[Role.USER])

    end = await while_it_is_given_up(context, mine, create(context, Order(source=Source(upload_id=mine))))

    assert (Conflict, f"upload {mine} is gone: send the file again") == (type(end), str(end))
    assert 0 == (await counted(database))[0]


async def test_an_upload_that_a_job_is_made_of_just_now_is_not_given_up(
    context: Context, database: Database, people: People
) -> None:
    mine = await complete(database, people[Role.USER])
    plan = await room.planned(context, Order(source=Source(upload_id=mine)))

    async with database.transaction(context.caller.tenant) as making:
        await room.create(context, making, plan)
        ending = asyncio.gather(appending.terminate(context, mine), return_exceptions=True)
        await until(lambda: holds_up(database, making))

    assert [Conflict] == [type(end) for end in await ending]


async def test_a_job_whose_upload_is_given_up_just_now_is_not_retried(
    context: Context, database: Database, people: People
) -> None:
    mine = await complete(database, people[Role.USER])
    job = await create(context, Order(source=Source(upload_id=mine)))
    await cancel(context, job.id)

    end = await while_it_is_given_up(context, mine, retry(context, job.id))

    told = f"job {job.id} cannot be retried: the upload it was made from is gone"
    assert (Conflict, told) == (type(end), str(end))
    async with database.transaction("default") as tx:
        stands = await rows.by_id(tx, job.id)
    assert stands is not None
    assert (JobStatus.CANCELLED, 0) == (stands.status, stands.retry_count)


async def test_without_the_lock_both_are_done(
    context: Context, database: Database, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: it is the lock on the upload that lets one of them through."""
    monkeypatch.setattr(uploads, "kept", uploads.by_ids)
    mine = await complete(database, people[Role.USER])

    end = await while_it_is_given_up(context, mine, create(context, Order(source=Source(upload_id=mine))))

    assert isinstance(end, Job)
    assert JobStatus.QUEUED is end.status


async def test_a_job_whose_upload_is_gone_is_retried_in_no_way(
    context: Context, database: Database, people: People
) -> None:
    admin = context_of(context.services, people[Role.ADMIN])
    gone, there = [await complete(database, people[Role.USER]) for _ in range(2)]
    lost, sound = [await create(context, Order(source=Source(upload_id=made_of))) for made_of in (gone, there)]
    for job in (lost, sound):
        await act(context, "job.update_status", job_id=str(job.id), status="failed")
    await appending.terminate(context, gone)

    for ask in (retry(context, lost.id), act(context, "job.update_status", job_id=str(lost.id), status="queued")):
        with pytest.raises(Conflict, match="the upload it was made from is gone"):
            await ask
    would = await act(admin, "dashboard.restart_failed_jobs", scope="all", dry_run=True)
    done = await act(admin, "dashboard.restart_failed_jobs", scope="all")

    assert (1, [sound.id], [sound.id]) == (would.jobs_checked, would.sample_ids, done.restarted_jobs)
    assert (1, 0) == (done.jobs_checked, done.failed_restarts)


async def test_a_file_of_the_server_must_lie_in_its_media_folder(context: Context, tmp_path: Path) -> None:
    root = tmp_path / "media"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.mp4").touch()
    (tmp_path / "secret.mp4").touch()
    (root / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    inside = replace(context, services=replace(context.services, media_root=root))

    job = await create(inside, Order(source=Source(path="sub/../sub/a.mp4")))

    assert "media:sub/a.mp4" == job.source_url
    for path in ("../secret.mp4", str(tmp_path / "secret.mp4"), "out.mp4", "sub", "missing.mp4", ""):
        with pytest.raises(BadInput):
            await create(inside, Order(source=Source(path=path)))


async def test_a_full_queue_takes_no_more(context: Context, database: Database, people: People) -> None:
    await queued(database, people[Role.USER])
    async with database.transaction("default") as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO jobs (id, tenant_id, chain, status)"
                " SELECT gen_random_uuid(), 'default', '{clipper}', 'queued' FROM generate_series(2, :most)"
            ),
            {"most": tunables.MAX_QUEUED_JOBS.default},
        )
    before = await counted(database)

    with pytest.raises(RateLimited) as refusal:
        await create(context, Order(source=URL))

    assert ("the queue is full: 1000 jobs are waiting", 30) == (str(refusal.value), refusal.value.retry_after)
    assert before == await counted(database)


async def test_a_refusing_queue_takes_none(context: Context, database: Database, people: People) -> None:
    failed = await queued(database, people[Role.USER], JobStatus.FAILED)
    async with database.transaction("default") as tx:
        await tx.execute(sa.insert(queue_states).values(tenant_id="default", refusing=True, reason="we move house"))
    before = await counted(database)

    for asked in (create(context, Order(source=URL)), retry(context, failed.id)):
        with pytest.raises(Conflict) as refusal:
            await asked
        assert "the queue takes no jobs on just now: we move house" == str(refusal.value)
    assert before == await counted(database)


async def test_a_paused_queue_takes_jobs_all_the_same(context: Context, database: Database) -> None:
    async with database.transaction("default") as tx:
        await queues.mark_paused(tx)

    assert JobStatus.QUEUED is (await create(context, Order(source=URL))).status


async def test_a_waiting_job_is_cancelled_at_once(context: Context, database: Database, people: People) -> None:
    job = await queued(database, people[Role.USER])

    cancelled = await cancel(context, job.id)

    assert JobStatus.CANCELLED is cancelled.status
    [step] = await context.loaders.steps_by_job.load(job.id)
    assert StepStatus.CANCELLED is step.status


async def test_a_running_job_is_asked_to_stop(
    context: Context, database: Database, redis: Redis, people: People
) -> None:
    job = await queued(database, people[Role.USER], JobStatus.PROCESSING)

    asked = await cancel(context, job.id)

    assert JobStatus.PROCESSING is asked.status
    assert asked.cancel_requested_at is not None
    assert 1 == await rung(redis)


@pytest.mark.parametrize("status", rows.FINISHED)
async def test_a_finished_job_is_not_cancelled(
    status: JobStatus, context: Context, database: Database, people: People
) -> None:
    job = await queued(database, people[Role.USER], status)
    before = await counted(database)

    with pytest.raises(Conflict) as refusal:
        await cancel(context, job.id)

    assert f"job {job.id} has already finished" == str(refusal.value)
    assert before == await counted(database)


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
async def test_a_failed_or_cancelled_job_is_queued_again(
    status: JobStatus, context: Context, database: Database, people: People
) -> None:
    job = await queued(database, people[Role.USER], status)

    again = await retry(context, job.id, 9)

    assert (JobStatus.QUEUED, 1, 9) == (again.status, again.retry_count, again.priority)


async def test_of_many_that_retry_at_once_one_does_and_the_others_are_told_how_it_is_now(
    context: Context, database: Database, people: People
) -> None:
    job = await queued(database, people[Role.USER], JobStatus.CANCELLED)

    ends = await asyncio.gather(*(retry(context, job.id) for _ in range(6)), return_exceptions=True)

    assert [1] == [end.retry_count for end in ends if isinstance(end, Job)]
    refused = [str(end) for end in ends if isinstance(end, Conflict)]
    assert 5 * [f"job {job.id} is queued already: only a failed or cancelled job can be retried"] == refused


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED])
async def test_no_other_job_is_retried(status: JobStatus, context: Context, database: Database, people: People) -> None:
    job = await queued(database, people[Role.USER], status)
    before = await counted(database)

    with pytest.raises(Conflict) as refusal:
        await retry(context, job.id)

    assert f"job {job.id} is {status} already: only a failed or cancelled job can be retried" == str(refusal.value)
    assert before == await counted(database)


async def test_a_job_of_somebody_else_looks_missing(
    context: Context, database: Database, people: People, other_people: People
) -> None:
    """To a colleague without the right, and to an administrator of another tenant."""
    colleagues = await queued(database, people[Role.OPERATOR], JobStatus.FAILED)
    strangers = await queued(database, other_people[Role.USER], JobStatus.FAILED)
    admin = context_of(context.services, people[Role.ADMIN])
    before = await counted(database)

    for who, job in ((context, colleagues), (context, strangers), (admin, strangers)):
        for ask in (cancel, retry):
            with pytest.raises(Refusal) as refusal:
                await ask(who, job.id)
            assert ("NOT_FOUND", f"there is no job {job.id}") == (refusal.value.code, str(refusal.value))
    assert before == await counted(database)
