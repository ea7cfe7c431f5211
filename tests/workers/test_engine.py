"""Holding jobs: who gets which, who loses one, and that whoever lost it can write nothing any more."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from db import agents, clips, jobs, leases, queues
from db.database import Database
from db.leases import Claim, Lost
from db.models.work import JobStatus, StepStatus
from tests.waiting import until
from tests.workers.conftest import Bench
from workers.agents.contract import Step, Tools
from workers.engine import Engine, Hold, Verdict

GONE = timedelta(seconds=-1)
"""A lease that has run out before it began: its holder is as good as dead."""


async def test_urgent_jobs_go_first_and_equals_in_the_order_they_came(bench: Bench) -> None:
    later = await bench.submitted(priority=5)
    urgent = await bench.submitted(priority=9)
    last = await bench.submitted(priority=5)

    async with bench.database.system() as tx:
        taken = [claim.job.id for claim in await leases.claim(tx, "w", most=2)]
        rest = [claim.job.id for claim in await leases.claim(tx, "w", most=2)]

    assert {urgent.id, later.id} == set(taken)
    assert [last.id] == rest


async def test_a_thousand_jobs_of_one_tenant_do_not_hold_up_the_one_of_another(bench: Bench) -> None:
    """Control: in the order they came, all thirty of the first would go before the one of the second."""
    ours = {(await bench.submitted()).id for _ in range(30)}
    theirs = await bench.submitted(tenant="other")
    taken = [(await bench.claimed()).job.id for _ in range(3)]

    assert theirs.id in taken
    assert 2 == len(ours & set(taken))


async def test_urgency_goes_before_turns(bench: Bench) -> None:
    urgent = [(await bench.submitted(priority=9)).id for _ in range(3)]
    await bench.submitted(tenant="other", priority=5)

    assert urgent == [(await bench.claimed()).job.id for _ in range(3)]


async def test_several_places_are_shared_among_tenants(bench: Bench) -> None:
    for _ in range(5):
        await bench.submitted()
    for _ in range(2):
        await bench.submitted(tenant="other")
    async with bench.database.system() as tx:
        claims = await leases.claim(tx, "w", most=4)

    assert ["default", "default", "other", "other"] == sorted(claim.job.tenant_id for claim in claims)


async def test_two_workers_never_hold_the_same_job(bench: Bench) -> None:
    submitted = {(await bench.submitted()).id for _ in range(20)}

    async def take(name: str) -> list[Claim]:
        async with bench.database.system() as tx:
            return await leases.claim(tx, name, most=5)

    taken = [claim.job.id for batch in await asyncio.gather(*(take(f"w{n}") for n in range(8))) for claim in batch]

    assert len(taken) == len(set(taken))
    assert set(taken) <= submitted


async def test_nobody_claims_while_the_queue_is_paused(bench: Bench) -> None:
    job = await bench.submitted()
    async with bench.database.transaction("default") as tx:
        await queues.mark_paused(tx)
    async with bench.database.system() as tx:
        during = await leases.claim(tx, "w", most=1)
    async with bench.database.transaction("default") as tx:
        await queues.mark_resumed(tx)
    async with bench.database.system() as tx:
        after = await leases.claim(tx, "w", most=1)

    assert [] == during
    assert [job.id] == [claim.job.id for claim in after]


async def test_a_pause_of_one_tenant_holds_up_nobody_else(bench: Bench) -> None:
    other = await bench.submitted(tenant="other")
    await bench.submitted()
    async with bench.database.transaction("default") as tx:
        await queues.mark_paused(tx)

    async with bench.database.system() as tx:
        assert [other.id] == [claim.job.id for claim in await leases.claim(tx, "w", most=5)]


async def test_an_agent_never_works_on_more_steps_than_it_may(bench: Bench) -> None:
    async with bench.database.transaction("default") as tx:
        await agents.configure(tx, "video-downloader", {"max_concurrent": 2})
    for _ in range(6):
        await bench.submitted()
    async with bench.database.system() as tx:
        claims = await leases.claim(tx, "w", most=6)

    async def begin(claim: Claim) -> int | None:
        async with bench.database.transaction("default") as tx:
            return await leases.begin_step(tx, claim, 0, "video-downloader")

    begun = await asyncio.gather(*(begin(claim) for claim in claims))

    assert 2 == sum(attempt is not None for attempt in begun)


async def test_a_silent_worker_loses_its_job_to_another(bench: Bench) -> None:
    job = await bench.submitted()
    async with bench.database.system() as tx:
        await leases.claim(tx, "silent", most=1, lease=GONE)
        [reaped] = await leases.reap(tx)
    claim = await bench.claimed("w2")

    assert (job.id, JobStatus.QUEUED) == (reaped.id, reaped.status)
    assert ("w2", 2) == (claim.job.worker_id, claim.job.attempt)


async def test_a_job_that_outlived_its_attempts_fails_instead_of_going_round(bench: Bench) -> None:
    job = await bench.submitted()
    for _ in range(job.max_attempts):
        async with bench.database.system() as tx:
            await leases.claim(tx, "crashes", most=1, lease=GONE)
            await leases.reap(tx)

    found = await bench.found(job.id)
    assert (JobStatus.FAILED, "WORKER_LOST") == (found.status, found.error_code)


async def test_a_silent_worker_s_cancelled_job_is_cancelled(bench: Bench) -> None:
    job = await bench.submitted()
    async with bench.database.system() as tx:
        await leases.claim(tx, "silent", most=1, lease=GONE)
    async with bench.database.transaction("default") as tx:
        await jobs.mark_cancelled(tx, job.id)
    async with bench.database.system() as tx:
        await leases.reap(tx)

    assert JobStatus.CANCELLED is (await bench.found(job.id)).status


@pytest.mark.parametrize("what", ["begin", "report", "finish", "complete", "fail", "stop", "put_back"])
async def test_whoever_was_replaced_writes_nothing(bench: Bench, what: str) -> None:
    """A worker that was stalled, reaped and replaced wakes up: each of its writes is refused by its old fence."""
    job = await bench.submitted()
    async with bench.database.system() as tx:
        [old] = await leases.claim(tx, "stalled", most=1, lease=GONE)
        await leases.reap(tx)
    new = await bench.claimed("w2")
    before = await bench.found(job.id)

    with pytest.raises(Lost):  # noqa: PT012 - the refusal must come from inside a transaction
        async with bench.database.transaction("default") as tx:
            match what:
                case "begin":
                    await leases.begin_step(tx, old, 0, "video-downloader")
                case "report":
                    await leases.report(tx, old, 0, share=0.5, percent=50)
                case "finish":
                    await leases.finish_step(tx, old, 0, StepStatus.COMPLETED, output={})
                case "complete":
                    await leases.complete(tx, old)
                case "fail":
                    await leases.fail(tx, old, code="X", message="")
                case "stop":
                    await leases.stop(tx, old)
                case _:
                    await leases.put_back(tx, old, delay=timedelta(0), count_attempt=True)

    assert before == await bench.found(job.id)
    assert new.fence == old.fence + 2


async def test_a_replaced_worker_stops_its_agent_and_leaves_one_set_of_clips(bench: Bench) -> None:
    """The stalled worker is still inside an agent when the job is taken over and completed by another."""
    stuck, go_on, first = asyncio.Event(), asyncio.Event(), [True]

    async def stall_once(step: Step, tools: Tools) -> None:
        if first:
            first.clear()
            stuck.set()
            await go_on.wait()

    bench.acts["clipper"] = stall_once
    job = await bench.submitted()
    stalled = await bench.claimed("stalled")
    hold = Hold(stalled)
    turn = asyncio.create_task(bench.turns().take(hold))
    await asyncio.wait_for(stuck.wait(), 10)
    async with bench.database.system() as tx:
        await leases.keep(tx, "stalled", [(job.id, stalled.fence)], lease=GONE)
        await leases.reap(tx)
    async with bench.at_work("w2"):
        done = await bench.until(job.id, JobStatus.COMPLETED)
    go_on.set()
    await asyncio.wait_for(turn, 10)

    async with bench.database.transaction("default") as tx:
        assert 1 == len(await clips.of_jobs(tx, [job.id]))
    assert ("w2", JobStatus.COMPLETED) == (done.worker_id, (await bench.found(job.id)).status)


async def test_an_engine_lets_go_of_a_job_that_was_taken_from_it(bench: Bench) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def endless(step: Step, tools: Tools) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            let_go.set()

    bench.acts["video-downloader"] = endless
    job = await bench.submitted()
    async with bench.at_work() as engine:
        await asyncio.wait_for(begun.wait(), 10)
        held = engine.held
        engine.paused = True
        async with bench.database.system() as tx:
            await tx.execute(_taken_away(job.id))
        await asyncio.wait_for(let_go.wait(), 15)

    assert [job.id] == held
    assert JobStatus.QUEUED is (await bench.found(job.id)).status


async def test_a_drained_engine_puts_its_job_back_without_counting_the_attempt(bench: Bench) -> None:
    begun = asyncio.Event()

    async def endless(step: Step, tools: Tools) -> None:
        begun.set()
        await asyncio.Event().wait()

    bench.acts["video-downloader"] = endless
    job = await bench.submitted()
    async with bench.at_work():
        await asyncio.wait_for(begun.wait(), 10)

    back = await bench.found(job.id)
    assert (JobStatus.QUEUED, 0, None) == (back.status, back.attempt, back.worker_id)


class Asked(Engine):
    """An engine that is asked to put back what it holds while it is just taking a job."""

    def __init__(self, bench: Bench, then: Callable[[Engine], None]) -> None:
        super().__init__(bench.database, bench.turns().take, worker_id="w1", concurrency=1)
        self.asked = asyncio.Event()
        self._then = then

    async def _claimed(self, free: int) -> list[Claim]:
        claims = await super()._claimed(free)
        if claims:
            self.paused = True
            self._then(self)
            self.asked.set()
        return claims


@pytest.mark.parametrize("then", [Engine.drain, Engine.put_back])
async def test_a_job_that_is_being_taken_is_put_back_with_the_others(
    bench: Bench, then: Callable[[Engine], None]
) -> None:
    job = await bench.submitted()
    engine = Asked(bench, then)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(engine.run())
        await engine.asked.wait()
        back = await bench.until(job.id, JobStatus.QUEUED)
        engine.drain()

    assert (0, None) == (back.attempt, back.worker_id)


async def test_a_job_may_be_taken_again_before_its_first_turn_has_ended(bench: Bench) -> None:
    """By the worker that has just put it back; the end of the first turn leaves what it holds by the second."""
    job = await bench.submitted()
    again, ended = asyncio.Event(), asyncio.Event()
    turns = list[UUID]()

    async def take(hold: Hold) -> None:
        turns.append(hold.claim.job.id)
        if len(turns) == 1:
            async with bench.database.transaction("default") as tx:
                await leases.put_back(tx, hold.claim, delay=timedelta(0), count_attempt=False)
            engine.ring()
            await again.wait()
            return
        (again if len(turns) == 2 else ended).set()
        await hold.decided.wait()

    engine = Engine(bench.database, take, worker_id="w1", concurrency=2)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(engine.run())
        await again.wait()
        # There is room for another one only once the first turn is over.
        other = await bench.submitted()
        engine.ring()
        await ended.wait()
        held = engine.held
        engine.drain()

    assert [job.id, other.id] == held
    assert [job.id, job.id, other.id] == turns


async def test_an_engine_runs_as_many_jobs_at_once_as_it_may(bench: Bench) -> None:
    at_once, most, go_on = [0], [0], asyncio.Event()

    async def together(step: Step, tools: Tools) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        if at_once[0] == 3:
            go_on.set()
        await asyncio.wait_for(go_on.wait(), 10)
        at_once[0] -= 1

    bench.acts["video-downloader"] = together
    submitted = [await bench.submitted() for _ in range(5)]
    async with bench.at_work(concurrency=3) as engine:
        engine.ring()
        for job in submitted:
            await bench.until(job.id, JobStatus.COMPLETED)

    assert 3 == most[0]


async def test_the_first_verdict_on_a_hold_stands(bench: Bench) -> None:
    await bench.submitted()
    hold = Hold(await bench.claimed())

    hold.let_go(Verdict.CANCELLED)
    hold.let_go(Verdict.DRAINED)

    assert Verdict.CANCELLED is hold.verdict


async def test_a_job_is_given_up_when_its_lease_could_not_be_renewed(bench: Bench) -> None:
    """PostgreSQL away for longer than the lease: somebody else may have the job by now, so nothing goes on with it."""
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def endless(step: Step, tools: Tools) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            let_go.set()

    bench.acts["video-downloader"] = endless
    job = await bench.submitted()
    turns = bench.turns()
    line = Severable(bench.database.engine)
    engine = Engine(
        line,
        turns.take,
        worker_id="w1",
        concurrency=1,
        lease=timedelta(seconds=2),
        heartbeat=timedelta(seconds=1),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.run())
        await asyncio.wait_for(begun.wait(), 10)
        line.cut = True
        await asyncio.wait_for(let_go.wait(), 30)
        engine.drain()

    assert JobStatus.PROCESSING is (await bench.found(job.id)).status


async def test_a_lease_that_somebody_s_lock_keeps_from_being_renewed_is_renewed_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def patient(step: Step, tools: Tools) -> None:
        begun.set()
        await go_on.wait()

    bench.acts["video-downloader"] = patient
    job = await bench.submitted()
    engine = Engine(
        bench.database, bench.turns().take, worker_id="w1", concurrency=1, heartbeat=timedelta(milliseconds=1)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.run())
        await asyncio.wait_for(begun.wait(), 10)
        async with bench.database.system() as tx:
            # Held for as long as it takes, which on a slow machine is longer than the server lets anybody be idle.
            await tx.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            await tx.execute(sa.text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": job.id})
            await until(lambda: "cannot look after what is held" in caplog.text)
        go_on.set()
        done = await bench.until(job.id, JobStatus.COMPLETED)
        engine.drain()

    assert ("w1", 1) == (done.worker_id, done.attempt)


class Severable(Database):
    """A database whose line can be cut; what is outside is all that is pretended."""

    cut = False

    async def _enter(self, settings: Mapping[str, str]) -> AsyncConnection:
        if self.cut:
            raise OSError("the line is cut")
        return await super()._enter(settings)


def _taken_away(job_id: UUID) -> sa.TextClause:
    """What a reaper does once a lease has run out."""
    return sa.text(
        "UPDATE jobs SET status = 'queued', fence = fence + 1, lease_until = NULL, worker_id = NULL "
        f"WHERE id = '{job_id}'"
    )
