"""A job's turn: what is recorded as it goes, and how it ends."""

import asyncio

import pytest
import sqlalchemy as sa

from db import agents, artifacts, clips, jobs, logs, steps
from db.jobs import Job
from db.logs import Filter
from db.models.records import Severity
from db.models.work import JobStatus, StepStatus
from db.pages import Order, Window
from tests.waiting import eventually
from tests.workers.conftest import CHAIN, Bench
from workers.agents.contract import Step, Tools
from workers.engine import Engine
from workers.failures import SourceUnavailable, StepFailed, StepSkipped
from workers.turn import backoff_s


async def test_a_job_goes_through_its_chain_to_clips(bench: Bench) -> None:
    job = await bench.submitted()

    async with bench.at_work():
        done = await bench.until(job.id, JobStatus.COMPLETED)

    async with bench.database.transaction("default") as tx:
        [clip] = await clips.of_jobs(tx, [job.id])
        [words] = await artifacts.of_jobs(tx, [job.id])
        taken = await steps.of_job(tx, job.id)
    assert list(CHAIN) == bench.ran
    assert (100, 1, None) == (done.progress, done.attempt, done.current_step)
    assert [StepStatus.COMPLETED] * 3 == [step.status for step in taken]
    assert all(step.duration_s is not None for step in taken)
    assert b"not really a film" == bench.files.resolve(clip.path).read_bytes()
    assert 70.0 == clip.score == sum(part["points"] for part in clip.reasons)
    assert "words.srt" == words.name


async def test_a_skipped_step_says_why_and_the_job_goes_on(bench: Bench) -> None:
    async def nothing_to_do(step: Step, tools: Tools) -> None:
        raise StepSkipped("the video has no sound")

    bench.acts["video-analyzer"] = nothing_to_do
    job = await bench.submitted()

    async with bench.at_work():
        await bench.until(job.id, JobStatus.COMPLETED)

    async with bench.database.transaction("default") as tx:
        _, skipped, _ = await steps.of_job(tx, job.id)
    assert (StepStatus.SKIPPED, "the video has no sound") == (skipped.status, skipped.message)


async def test_a_failed_step_fails_the_job_with_its_words_and_is_not_tried_again(bench: Bench) -> None:
    async def no_video(step: Step, tools: Tools) -> None:
        raise StepFailed("this is not a video")

    bench.acts["video-downloader"] = no_video
    job = await bench.submitted()

    async with bench.at_work():
        failed = await bench.until(job.id, JobStatus.FAILED)

    async with bench.database.transaction("default") as tx:
        first, *rest = await steps.of_job(tx, job.id)
    assert ["video-downloader"] == bench.ran
    assert "STEP_FAILED" == failed.error_code
    assert failed.error_message is not None
    assert failed.error_message.endswith("this is not a video")
    assert (StepStatus.FAILED, "this is not a video") == (first.status, first.message)
    assert {StepStatus.PENDING} == {step.status for step in rest}


async def put_off(bench: Bench, engine: Engine, job: Job) -> Job:
    """A job once an engine has said why it is tried again later."""
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.run())
        waiting = await eventually(lambda: bench.found(job.id), lambda seen: seen.error_message is not None)
        engine.drain()
    return waiting


async def test_a_failure_that_may_pass_is_tried_again_later(bench: Bench) -> None:
    engine = bench.engine()

    async def away(step: Step, tools: Tools) -> None:
        # It is not taken again before it was looked at, however late that is.
        engine.paused = True
        raise SourceUnavailable("the server does not answer")

    bench.acts["video-downloader"] = away
    job = await bench.submitted()

    waiting = await put_off(bench, engine, job)

    assert (JobStatus.QUEUED, 1) == (waiting.status, waiting.attempt)
    assert waiting.run_at > waiting.created_at
    assert "the server does not answer" in (waiting.error_message or "")
    async with bench.database.transaction("default") as tx:
        [line] = await logs.newest(tx, most=1)
    assert (Severity.WARNING, "failed: the server does not answer") == (line.level, line.message)


async def test_a_job_whose_rows_somebody_else_holds_is_tried_again_later(bench: Bench) -> None:
    """Left to its lease it would wait for that to run out, and be said to have lost its worker."""
    engine = bench.engine()

    async def found(step: Step, tools: Tools) -> None:
        engine.paused = True
        raise StepSkipped("nothing to do")

    bench.acts["video-downloader"] = found
    job = await bench.submitted()
    async with bench.database.engine.begin() as owner:
        await owner.execute(
            sa.text(
                "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'held' USING ERRCODE = 'lock_not_available'; END $$"
            )
        )
        await owner.execute(
            sa.text(
                "CREATE TRIGGER held BEFORE UPDATE ON processing_steps FOR EACH ROW "
                "WHEN (NEW.status = 'skipped') EXECUTE FUNCTION held()"
            )
        )

    waiting = await put_off(bench, engine, job)

    assert (JobStatus.QUEUED, 1) == (waiting.status, waiting.attempt)
    assert "somebody else" in (waiting.error_message or "")


async def test_how_each_step_went_is_written_into_the_log_under_its_agent_s_name(bench: Bench) -> None:
    """In the log of the tenant whose job it is, and with the worker that did it."""

    async def nothing_to_do(step: Step, tools: Tools) -> None:
        raise StepSkipped("the video has no sound")

    async def broken(step: Step, tools: Tools) -> None:
        raise StepFailed("there is nothing to cut")

    bench.acts["video-analyzer"] = nothing_to_do
    bench.acts["clipper"] = broken
    job = await bench.submitted()

    async with bench.at_work():
        done = await bench.until(job.id, JobStatus.FAILED)

    told = []
    async with bench.database.transaction("default") as tx:
        for name in CHAIN:
            [line] = (await logs.listed(tx, Filter(source=agents.source_of(name)), Order("created_at"), Window())).items
            told.append((line.level, line.message))
            assert ("steps", str(job.id), done.worker_id) == (
                line.category,
                line.data["job_id"],
                line.data["worker_id"],
            )
    async with bench.database.transaction("other") as tx:
        assert [] == [source for source in await logs.sources(tx) if source.startswith("agent:")]
    skipped, failed = "skipped: the video has no sound", "failed: there is nothing to cut"
    assert [(Severity.INFO, "completed"), (Severity.INFO, skipped), (Severity.ERROR, failed)] == told


async def test_an_agent_is_tried_again_as_often_as_it_is_configured(bench: Bench) -> None:
    async def away(step: Step, tools: Tools) -> None:
        raise SourceUnavailable("the server does not answer")

    bench.acts["video-downloader"] = away
    async with bench.database.transaction("default") as tx:
        await agents.configure(tx, "video-downloader", {"retry_attempts": 0})
    job = await bench.submitted()

    async with bench.at_work():
        failed = await bench.until(job.id, JobStatus.FAILED)

    assert (["video-downloader"], 1) == (bench.ran, failed.attempt)
    assert (failed.error_message or "").endswith("the server does not answer (attempt 1)")


async def test_a_step_holds_no_more_memory_than_its_agent_may(bench: Bench) -> None:
    async def hoard(step: Step, tools: Tools) -> None:
        await tools.compute(bytearray, 400 * 2**20)

    bench.acts["video-downloader"] = hoard
    async with bench.database.transaction("default") as tx:
        await agents.configure(tx, "video-downloader", {"memory_mb": 256})
    job = await bench.submitted()

    async with bench.at_work():
        failed = await bench.until(job.id, JobStatus.FAILED)

    assert "needs more than 256 MB of memory" in (failed.error_message or "")


async def test_the_last_attempt_ends_in_failure(bench: Bench) -> None:
    async def away(step: Step, tools: Tools) -> None:
        raise SourceUnavailable("the server does not answer")

    bench.acts["video-downloader"] = away
    async with bench.database.transaction("default") as tx:
        job = await jobs.add(
            tx, jobs.NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=CHAIN, max_attempts=1)
        )

    async with bench.at_work():
        failed = await bench.until(job.id, JobStatus.FAILED)

    assert "ATTEMPTS_SPENT" == failed.error_code


async def test_an_error_of_ours_is_not_shown_to_the_caller(bench: Bench) -> None:
    async def bug(step: Step, tools: Tools) -> None:
        raise ZeroDivisionError("secret detail")

    bench.acts["video-downloader"] = bug
    async with bench.database.transaction("default") as tx:
        job = await jobs.add(
            tx, jobs.NewJob(user_id=None, source_url="https://example.org/v.mp4", chain=CHAIN, max_attempts=1)
        )

    async with bench.at_work():
        failed = await bench.until(job.id, JobStatus.FAILED)

    assert "secret" not in (failed.error_message or "")


async def test_cancelling_stops_the_agent(bench: Bench) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def endless(step: Step, tools: Tools) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    bench.acts["video-analyzer"] = endless
    job = await bench.submitted()
    async with bench.at_work():
        await asyncio.wait_for(begun.wait(), 10)
        async with bench.database.transaction("default") as tx:
            await jobs.mark_cancelled(tx, job.id)
        await asyncio.wait_for(stopped.wait(), 10)
        await bench.until(job.id, JobStatus.CANCELLED)

    async with bench.database.transaction("default") as tx:
        states = [step.status for step in await steps.of_job(tx, job.id)]
    assert [StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.CANCELLED] == states


async def test_what_finished_steps_found_is_kept_for_a_retry(bench: Bench) -> None:
    failing = [True]

    async def once(step: Step, tools: Tools) -> None:
        if failing.pop():
            failing.append(False)
            raise StepFailed("bad luck")
        failing.append(False)

    bench.acts["clipper"] = once
    job = await bench.submitted()
    async with bench.at_work():
        await bench.until(job.id, JobStatus.FAILED)
        async with bench.database.transaction("default") as tx:
            await jobs.mark_retried(tx, job.id)
        done = await bench.until(job.id, JobStatus.COMPLETED)

    assert [*CHAIN, "clipper"] == bench.ran
    assert (1, 2) == (done.retry_count, done.attempt)


async def test_a_job_waits_while_its_next_agent_is_switched_off(bench: Bench) -> None:
    async def switch_off(step: Step, tools: Tools) -> None:
        async with bench.database.transaction("default") as tx:
            await agents.mark_enabled(tx, "video-analyzer", enabled=False)

    bench.acts["video-downloader"] = switch_off
    job = await bench.submitted()
    async with bench.at_work():
        waiting = await eventually(lambda: bench.found(job.id), lambda seen: seen.error_message is not None)
        async with bench.database.transaction("default") as tx:
            await agents.mark_enabled(tx, "video-analyzer", enabled=True)
        done = await bench.until(job.id, JobStatus.COMPLETED)

    assert (JobStatus.QUEUED, "video-analyzer", 0) == (waiting.status, waiting.current_step, waiting.attempt)
    assert 1 == done.attempt


async def test_progress_only_grows_and_is_written_down(bench: Bench) -> None:
    seen: list[int] = []

    async def halfway(step: Step, tools: Tools) -> None:
        await tools.progress(0.5)
        await tools.progress(0.2)
        now = await eventually(lambda: bench.found(step.job_id), lambda seen: seen.progress > 0)
        seen.append(now.progress)

    bench.acts["video-downloader"] = halfway
    job = await bench.submitted()
    async with bench.at_work():
        await bench.until(job.id, JobStatus.COMPLETED)

    assert [16] == seen


async def test_a_chain_with_an_unknown_agent_fails_and_names_it(bench: Bench) -> None:
    job = await bench.submitted(chain=("video-downloader", "dream-reader"))

    async with bench.at_work():
        failed = await bench.until(job.id, JobStatus.FAILED)

    assert "dream-reader" in (failed.error_message or "")


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 1.0, 2.0), (3, 4.0, 8.0), (20, 150.0, 300.0)])
def test_pauses_between_attempts_double_up_to_five_minutes(attempt: int, least: float, most: float) -> None:
    assert (least, most) == (backoff_s(attempt, 0.0), backoff_s(attempt, 1.0))
