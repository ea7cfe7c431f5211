"""Everyday: what people say of a job, agents begun anew, their queues cleared; the rest is tried with its rooms."""

import asyncio
from typing import Any

import pytest

from db import events
from db.database import Database
from db.events import Kind
from db.models.identity import Role
from db.models.work import JobStatus, StepStatus
from resolvers.context import Context, Services
from tests.acting import act, refused
from tests.conftest import People
from tests.resolvers.actions.busy import Busy, soon
from tests.standing import found, job_in, standing, steps_of
from tests.uploading import context_of
from tests.workers.conftest import Bench
from workers.agents.contract import Step, Tools

QUEUED, PROCESSING, COMPLETED = JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED
FAILED, CANCELLED = JobStatus.FAILED, JobStatus.CANCELLED


@pytest.fixture
def operator(services: Services, people: People) -> Context:
    return context_of(services, people[Role.OPERATOR])


@pytest.mark.parametrize(
    ("stands", "said", "becomes"),
    [
        (FAILED, "queued", QUEUED),
        (CANCELLED, "queued", QUEUED),
        (QUEUED, "cancelled", CANCELLED),
        (QUEUED, "failed", FAILED),
        (PROCESSING, "failed", FAILED),
        (PROCESSING, "cancelled", PROCESSING),
    ],
)
async def test_people_say_how_a_job_is_to_stand(
    stands: JobStatus, said: str, becomes: JobStatus, operator: Context, database: Database
) -> None:
    job_id = await job_in(database, stands)

    done = await act(operator, "job.update_status", job_id=str(job_id), status=said)

    job = await found(database, job_id)
    assert job is not None
    assert (stands, becomes, becomes) == (done.previous_status, done.new_status, job.status)
    assert (becomes is FAILED, becomes is PROCESSING) == (
        job.error_code == "DECLARED",
        job.cancel_requested_at is not None and job.status is PROCESSING,
    )


@pytest.mark.parametrize(
    ("stands", "said", "code"),
    [
        (COMPLETED, "queued", "CONFLICT"),
        (COMPLETED, "failed", "CONFLICT"),
        (FAILED, "cancelled", "CONFLICT"),
        (QUEUED, "queued", "CONFLICT"),
        (QUEUED, "completed", "CONFLICT"),
        (PROCESSING, "completed", "CONFLICT"),
        (QUEUED, "processing", "CONFLICT"),
        (FAILED, "processing", "CONFLICT"),
        (QUEUED, "done", "VALIDATION_ERROR"),
        (QUEUED, None, "VALIDATION_ERROR"),
    ],
)
async def test_what_only_a_worker_can_say_is_refused(
    stands: JobStatus, said: str | None, code: str, operator: Context, database: Database
) -> None:
    job_id = await job_in(database, stands)

    assert code == (await refused(operator, "job.update_status", job_id=str(job_id), status=said)).code
    job = await found(database, job_id)
    assert job is not None
    assert stands is job.status


async def test_the_progress_of_a_job_that_runs_never_goes_back(operator: Context, database: Database) -> None:
    running, waiting = str(await job_in(database, PROCESSING)), str(await job_in(database, QUEUED))

    told = [
        (await act(operator, "job.update_status", job_id=running, progress=70)).job.progress,
        (await act(operator, "job.update_status", job_id=running, status="processing")).job.progress,
        (await act(operator, "job.update_status", job_id=running, status="processing", progress=80)).job.progress,
    ]

    assert [70, 70, 80] == told
    for job_id, percent, code in (
        (running, 79, "CONFLICT"),
        (waiting, 5, "CONFLICT"),
        (running, 101, "VALIDATION_ERROR"),
    ):
        assert code == (await refused(operator, "job.update_status", job_id=job_id, progress=percent)).code


async def test_a_job_declared_as_failed_ends_its_agent(operator: Context, bench: Bench) -> None:
    busy = Busy()
    bench.acts["video-analyzer"] = busy
    async with bench.at_work():
        job = await bench.submitted()
        await soon(busy.begun)

        await act(operator, "job.update_status", job_id=str(job.id), status="failed", message="wrong video")
        await soon(busy.ended)

    ended = await bench.found(job.id)
    assert (FAILED, "DECLARED", "wrong video") == (ended.status, ended.error_code, ended.error_message)


async def test_agents_begin_anew_what_they_are_at_and_keep_what_was_found(operator: Context, bench: Bench) -> None:
    busy, again = Busy(), asyncio.Event()

    async def once(step: Step, tools: Tools) -> None:
        if busy.begun.is_set():
            again.set()
            return
        await busy(step, tools)

    bench.acts["video-analyzer"] = once
    async with bench.at_work():
        job = await bench.submitted()
        await soon(busy.begun)

        elsewhere = await act(operator, "agents.restart", agent_ids=["clipper"])
        assert (["clipper"], []) == (elsewhere.agents, elsewhere.restarted_jobs)
        assert not busy.ended.is_set()
        restarted = await act(operator, "agents.restart")

        assert (11, [job.id]) == (len(restarted.agents), restarted.restarted_jobs)
        await soon(busy.ended)
        await soon(again)
        done = await bench.until(job.id, COMPLETED)

    assert ["video-downloader", "video-analyzer", "video-analyzer", "clipper"] == bench.ran
    # Taken twice, and counted once: nobody shall run out of attempts because agents were begun anew.
    assert 1 == done.attempt
    refusal = await refused(operator, "agents.restart", agent_ids=["clipper", "nobody"])
    assert ("NOT_FOUND", "there is no agent nobody") == (refusal.code, str(refusal))


async def test_a_job_that_shall_stop_is_not_begun_anew(operator: Context, bench: Bench) -> None:
    job = await bench.submitted(chain=("clipper",))
    await bench.claimed()
    await act(operator, "job.cancel", job_id=str(job.id))

    assert [] == (await act(operator, "agents.restart")).restarted_jobs
    assert PROCESSING is (await bench.found(job.id)).status


async def test_the_queue_of_an_agent_is_cleared(operator: Context, bench: Bench) -> None:
    database = bench.database
    waiting = await bench.submitted(chain=("clipper",))
    beside = await bench.submitted(chain=("video-analyzer",))
    running = await job_in(database, PROCESSING)
    before = await standing(database)

    would = await act(operator, "agent.queue_clear", agent_id="clipper", dry_run=True)

    assert before == await standing(database)
    cleared = await act(operator, "agent.queue_clear", agent_id="clipper")
    for told in (would, cleared):
        assert ("clipper", 1, [waiting.id]) == (told.agent_id, told.cleared_count, told.sample_ids)
    stands = [job.status for each in (waiting.id, beside.id, running) if (job := await found(database, each))]
    assert [CANCELLED, QUEUED, PROCESSING] == stands
    assert [StepStatus.CANCELLED] == await steps_of(database, waiting.id)
    assert "NOT_FOUND" == (await refused(operator, "agent.queue_clear", agent_id="nobody")).code


async def test_the_queues_of_all_agents_are_cleared_when_none_is_named(operator: Context, bench: Bench) -> None:
    database = bench.database
    waiting = [(await bench.submitted(chain=(agent,))).id for agent in ("clipper", "video-analyzer")]
    running = await job_in(database, PROCESSING)

    cleared = await act(operator, "agent.queue_clear")

    assert ("", 2, waiting) == (cleared.agent_id, cleared.cleared_count, cleared.sample_ids)
    async with database.system() as tx:
        told = [event for event in await events.after(tx, events.START) if event.kind is Kind.AGENT_CHANGED]
    assert [("clipper", {"cleared": 1}), ("video-analyzer", {"cleared": 1})] == sorted(
        (event.entity_id, event.payload) for event in told
    )
    stands = [job.status for each in (*waiting, running) if (job := await found(database, each))]
    assert [CANCELLED, CANCELLED, PROCESSING] == stands


@pytest.mark.parametrize("priority", [-1, 11])
async def test_a_job_is_made_with_a_priority_from_0_to_10(priority: int, operator: Context) -> None:
    url = {"url": "https://example.org/v.mp4"}

    assert "VALIDATION_ERROR" == (await refused(operator, "job.create", source=url, priority=priority)).code


async def test_the_same_key_makes_one_job(operator: Context, database: Database) -> None:
    given: dict[str, Any] = {"source": {"url": "https://example.org/v.mp4"}}
    key = "0123456789abcdef"

    first = await act(operator, "job.create", key=key, **given)
    second = await act(operator, "job.create", key=key, **given)

    assert first.job.id == second.job.id
    before = await standing(database)
    await act(operator, "job.create", key=key, **given)
    assert before == await standing(database)
