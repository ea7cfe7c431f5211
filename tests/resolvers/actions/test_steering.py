"""Steering a house at work: each action is tried by what becomes of real processes and the jobs in their hands."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agentos import processes
from agentos.embedded import Addresses
from db import services
from db.models.control import ProcessState
from db.models.work import JobStatus, WorkerState
from db.services import Process, Service
from resolvers import processes as steered
from tests.agentos.house import House, housed
from tests.waiting import eventually, until

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module")
async def whole(pair: Addresses, template: str) -> AsyncIterator[House]:
    """One house for all of these tests."""
    async with housed(pair.database_url, template, pair.redis_url) as house:
        yield house


@pytest_asyncio.fixture
async def house(whole: House, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house with a warmer and so many idle workers, one unless a test asks for more, whatever was left there."""
    # What becomes of processes is tried here, not how soon: the machine that tests may be busy with others.
    monkeypatch.setattr(steered, "PATIENCE_S", 30.0)
    await whole.tidied(crew=getattr(request, "param", 1))
    return whole


of_two = pytest.mark.parametrize("house", [2], ids=["two"], indirect=True)
"""The house has two workers. Each takes seconds to load, so tests of two follow each other."""


def alive(pid: int | None) -> bool:
    return pid is not None and processes.identity(pid) is not None


async def test_started_workers_run_and_are_heard_of(house: House) -> None:
    before = await house.processes()

    changed = await house.act("worker.start", count=1)

    there = await house.quiet("worker-1", "worker-2")
    assert (1, 2, ["worker-2"], []) == (changed.previous_count, changed.desired, changed.started, changed.stopped)
    assert alive(there["worker-2"].pid)
    assert before["worker-1"].pid == there["worker-1"].pid
    assert changed.observed == 2 or not changed.converged


@of_two
async def test_a_rolling_restart_takes_one_after_the_other(house: House) -> None:
    before = await house.processes()
    fewest = 2

    restarting = asyncio.create_task(house.act("worker.restart_all", timeout=10))
    while not restarting.done():
        fewest = min(fewest, len(await house.workers()))
        await asyncio.wait([restarting], timeout=0.1)
    await restarting
    after = await house.quiet("worker-1", "worker-2")

    assert 1 == fewest
    assert not any(alive(before[name].pid) for name in ("worker-1", "worker-2"))
    assert all(after[name].pid != before[name].pid for name in ("worker-1", "worker-2"))


@of_two
async def test_a_stopped_worker_finishes_what_it_holds_and_is_gone(house: House) -> None:
    job = await house.submitted()
    begun = await house.until(job.id, JobStatus.PROCESSING)
    name = next(name for name, one in (await house.workers()).items() if one.id == begun.worker_id)
    await house.heard(lambda found: found[name].current_jobs == [job.id])
    pid = (await house.processes())[name].pid

    stopping = asyncio.create_task(house.act("worker.stop", worker_id=name, timeout=60))
    await house.heard(lambda found: found[name].state is WorkerState.DRAINING)
    assert alive(pid)
    house.go()
    stopped = await stopping

    assert (name, 1, True) == (stopped.worker_id, stopped.jobs_finished, stopped.converged)
    assert WorkerState.STOPPED is stopped.state
    assert not alive(pid)
    assert JobStatus.COMPLETED is (await house.job(job.id)).status


@of_two
async def test_scaling_down_ends_the_idle_worker_and_leaves_the_one_at_work(house: House) -> None:
    there = await house.processes()
    job = await house.submitted()
    begun = await house.until(job.id, JobStatus.PROCESSING)
    at_work = next(name for name, one in (await house.workers()).items() if one.id == begun.worker_id)
    [idle] = {"worker-1", "worker-2"} - {at_work}
    await house.heard(lambda found: found[at_work].current_jobs == [job.id])

    changed = await house.act("worker.scale_down", count=5)
    left = await house.quiet(at_work)

    assert (2, 1, [idle]) == (changed.previous_count, changed.desired, changed.stopped)
    assert not alive(there[idle].pid)
    assert there[at_work].pid == left[at_work].pid
    assert JobStatus.PROCESSING is (await house.job(job.id)).status


async def test_a_killed_worker_is_gone_and_its_job_is_queued_again_at_once(house: House) -> None:
    job = await house.submitted()
    await house.until(job.id, JobStatus.PROCESSING)
    [before] = [one for one in (await house.processes()).values() if one.name == "worker-1"]

    killed = await house.act("worker.kill", worker_id="worker-1", confirm=True)

    assert (before.pid, True, [job.id]) == (killed.pid, killed.killed, killed.requeued_jobs)
    assert not alive(before.pid)
    # Its lease has twenty seconds to go at least; and a kill on purpose is no failed attempt.
    assert killed.took_ms < 20_000
    house.go()
    done = await house.until(job.id, JobStatus.COMPLETED)
    assert 1 == done.attempt
    after = await house.quiet("worker-1")
    assert before.pid != after["worker-1"].pid


async def test_a_kill_that_comes_late_touches_no_other_process(house: House) -> None:
    """The pid that was meant is gone, and belongs to a stranger by now."""
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        async with house.database.system() as tx:
            await services.kill(tx, "worker-1", stranger.pid)
        there = await eventually(house.processes, lambda found: found["worker-1"].kill_pid is None)

        assert alive(stranger.pid)
        assert alive(there["worker-1"].pid)
        assert 0 == there["worker-1"].restarts or alive(there["worker-1"].pid)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_worker_that_is_not_waited_for_puts_back_what_it_holds(house: House) -> None:
    job = await house.submitted()
    await house.until(job.id, JobStatus.PROCESSING)

    stopped = await house.act("worker.stop", worker_id="worker-1", wait=False)

    assert stopped.converged
    back = await house.until(job.id, JobStatus.QUEUED)
    assert (0, None) == (back.attempt, back.worker_id)
    assert "worker-1" not in await house.processes()


async def test_a_pause_that_is_answered_binds_every_worker_and_a_resume_frees_it(house: House) -> None:
    paused = await house.act("worker.pause")
    job = await house.submitted()
    workers = await house.workers()

    assert (["worker-1"], 1) == (paused.paused, paused.total)
    assert WorkerState.PAUSED is workers["worker-1"].state
    assert JobStatus.QUEUED is (await house.job(job.id)).status
    resumed = await house.act("worker.resume", worker_id="worker-1")
    assert ["worker-1"] == resumed.resumed
    await house.until(job.id, JobStatus.PROCESSING)


async def test_a_pause_that_does_not_wait_puts_jobs_back(house: House) -> None:
    job = await house.submitted()
    await house.until(job.id, JobStatus.PROCESSING)

    await house.act("worker.pause", worker_id="worker-1", finish_current=False)

    back = await house.until(job.id, JobStatus.QUEUED)
    assert 0 == back.attempt
    await house.act("worker.resume")
    await house.until(job.id, JobStatus.PROCESSING)


async def test_a_restarted_worker_has_another_process_and_the_settings_it_was_given(house: House) -> None:
    """And what it and the one before it wrote can be read by its name."""
    before = (await house.processes())["worker-1"]
    configured = await house.act("worker.configure", max_jobs=3, job_timeout=600)
    first = (await house.workers())["worker-1"]
    await house.act("worker.restart", worker_id="worker-1")
    after = (await house.quiet("worker-1"))["worker-1"]
    second = (await house.workers())["worker-1"]
    told = await eventually(
        lambda: house.act("worker.view_logs", worker_id="worker-1", lines=2), lambda seen: len(seen.entries) == 2
    )
    of_all = await house.act("service.view_logs", service_id="workers", level="info")

    wanted = {"max_jobs": 3, "job_timeout": 600}
    assert (wanted, [], ["worker-1"], True) == (
        configured.applied,
        configured.requires_restart,
        configured.workers,
        configured.kept,
    )
    assert wanted | {"queues": ["default"]} == first.settings == second.settings
    assert first.id != second.id
    assert not alive(before.pid)
    assert (1, 0) == (after.renewed - before.renewed, after.restarts - before.restarts)
    assert ["worker-1"] * 2 == [line.source for line in told.entries]
    assert told.entries[0].created_at >= told.entries[1].created_at
    assert any("takes up to" in line.message for line in of_all.entries)


async def test_a_worker_may_have_settings_and_a_profile_a_queue_of_its_own(house: House) -> None:
    spawned, made = await asyncio.gather(
        house.act("worker.spawn_new", name="nights", concurrency=2),
        house.act("worker.create_generic", name="shorts", agent_chain=["video-downloader"], concurrency=3),
    )
    await house.quiet("worker-1", "nights", "shorts-1")
    there = await house.workers()
    created = await house.act("job.create", source={"url": "https://example.org/v.mp4"}, profile="shorts")
    begun = await house.until(created.job.id, JobStatus.PROCESSING)

    assert ["video-downloader"] == begun.chain
    assert ("nights", "shorts", "shorts-1") == (spawned.worker_id, made.queue, made.worker_id)
    assert {"max_jobs": 2, "job_timeout": None, "queues": ["default"]} == there["nights"].settings
    assert {"max_jobs": 3, "job_timeout": 900, "queues": ["shorts"]} == there["shorts-1"].settings
    assert there["shorts-1"].id == begun.worker_id
    assert "CONFLICT" == await house.refused("worker.spawn_new", name="nights")
    assert "CONFLICT" == await house.refused("worker.create_generic", name="shorts", agent_chain=["clipper"])
    assert "VALIDATION_ERROR" == await house.refused("worker.spawn_new", queues=["nowhere"])
    assert "VALIDATION_ERROR" == await house.refused("worker.kill", worker_id="worker-1", confirm=False)
    assert "CONFLICT" == await house.refused("worker.start", count=18)
    assert "NOT_FOUND" == await house.refused("worker.stop", worker_id="nobody")
    nowhere = {"source": {"url": "https://example.org/v.mp4"}, "profile": "nowhere"}
    assert "VALIDATION_ERROR" == await house.refused("job.create", **nowhere)


async def test_a_worker_that_crashes_is_replaced_and_its_job_taken_back_at_once(house: House) -> None:
    job = await house.submitted()
    await house.until(job.id, JobStatus.PROCESSING)
    before = (await house.processes())["worker-1"]
    assert before.pid is not None
    known = processes.identity(before.pid)
    assert known is not None

    assert processes.send(known, signal.SIGKILL)
    # Its lease has twenty seconds to go at least; how soon a new worker is there to take it is another matter.
    await eventually(
        lambda: house.job(job.id),
        lambda seen: seen.status is JobStatus.QUEUED or seen.attempt == 2,
        within_s=19,
        every_s=0.1,
    )
    again = await house.until(job.id, JobStatus.PROCESSING)

    assert 2 == again.attempt
    assert 1 <= (await house.quiet("worker-1"))["worker-1"].restarts


async def test_health_is_what_supervisor_and_worker_say(house: House) -> None:
    process = (await house.processes())["worker-1"]
    found = await eventually(
        lambda: house.act("worker.health_check"),
        lambda seen: bool(seen.workers) and seen.workers[0].memory_mb is not None,
    )

    [health] = found.workers
    assert (True, True, True, "worker-1", process.pid) == (
        found.supervisor,
        health.alive,
        health.supervised,
        health.worker_id,
        health.pid,
    )
    assert ProcessState.RUNNING is health.process_state
    assert health.memory_mb > 10


async def test_a_service_that_is_stopped_remembers_its_processes(house: House) -> None:
    warmer = (await house.processes())["warmer"].pid

    stopped = await house.act("service.stop", service_id="warmer", timeout=5)
    again = await house.act("service.start", service_id="warmer")

    assert ("warmer", "running", "stopped", None) == (
        stopped.service_id,
        stopped.previous_state,
        stopped.state,
        stopped.pid,
    )
    assert not alive(warmer)
    assert ("stopped", "running", True) == (again.previous_state, again.state, alive(again.pid))


async def test_workers_under_their_old_name_are_stopped_and_started(house: House) -> None:
    before = (await house.processes())["worker-1"].pid

    stopped = await house.act("service.stop", service_id="celery-workers", timeout=5)
    assert not alive(before)
    assert "CONFLICT" == await house.refused("worker.start")
    await house.act("service.start", service_id="celery-workers")
    after = await house.quiet("worker-1")

    assert ("workers", "stopped") == (stopped.service_id, stopped.state)
    assert before != after["worker-1"].pid


async def test_all_services_are_restarted_one_by_one(house: House) -> None:
    before = await house.processes()

    await house.act("service.restart_all")
    await house.quiet("worker-1")
    after = await house.processes()

    assert all(after[name].pid != before[name].pid for name in ("warmer", "worker-1"))
    assert not any(alive(one.pid) for one in before.values())


async def test_services_are_looked_at_and_stores_probed(house: House) -> None:
    found = await house.act("service.health_check")
    by_id = {one.service_id: one for one in found.services}

    assert found.supervisor
    assert ("running", "running") == (by_id["workers"].state, by_id["warmer"].state)
    assert by_id["workers"].heartbeat_age_s is not None
    assert by_id["database"].latency_ms > 0
    # A house of tests has no process for it, so there is none that should run.
    assert ("stopped", 0) == (by_id["websocket"].state, by_id["websocket"].processes)


async def test_of_two_who_scale_at_once_the_later_is_obeyed(house: House) -> None:
    both = await asyncio.gather(house.act("worker.scale", count=3), house.act("worker.scale", count=2))
    # Who came second saw what the first had asked for.
    [later] = [changed for changed in both if changed.previous_count != 1]

    async def wanted() -> int:
        return sum(_is_worker(one) for one in (await house.processes()).values())

    await eventually(wanted, lambda count: count == later.desired, every_s=0.1)
    assert [2, 3] == sorted(changed.desired for changed in both)


async def test_a_graceful_shutdown_lets_jobs_be_finished(house: House) -> None:
    job = await house.submitted()
    await house.until(job.id, JobStatus.PROCESSING)
    await house.heard(lambda found: found["worker-1"].current_jobs == [job.id])
    pid = (await house.processes())["worker-1"].pid

    ending = asyncio.create_task(house.act("system.graceful_shutdown", timeout_seconds=60))
    await house.heard(lambda found: found["worker-1"].state is WorkerState.DRAINING)
    house.go()
    ended = await ending

    assert not alive(pid)
    assert (True, 1, 0, ["worker-1"]) == tuple(
        ended[name] if isinstance(ended, dict) else getattr(ended, name)
        for name in ("drained", "jobs_finished", "jobs_remaining", "stopped")
    )


async def test_stopping_all_leaves_no_worker_and_starting_begins_anew(house: House) -> None:
    pid = (await house.processes())["worker-1"].pid

    await house.act("worker.stop_all", timeout=10)
    await until(lambda: not alive(pid))
    assert not any(map(_is_worker, (await house.processes()).values()))
    changed = await house.act("worker.start")
    await house.quiet("worker-1")

    assert (0, 1) == (changed.previous_count, changed.desired)


async def test_a_restart_of_everything_follows_its_answer(house: House) -> None:
    before = await house.processes()

    answered = await house.act("system.restart", delay_seconds=0)
    await eventually(house.processes, lambda found: all(one.settled and one.renewed > 0 for one in found.values()))
    after = await house.quiet("worker-1")

    assert ["warmer", "worker-1"] == answered.components
    assert all(after[name].pid != before[name].pid for name in ("warmer", "worker-1"))


async def test_a_restart_with_an_older_configuration_puts_it_in_force(house: House) -> None:
    first = await house.act("config.save", values={"max_queued_jobs": 500})
    await house.act("config.save", values={"max_queued_jobs": 600})
    before = (await house.processes())["worker-1"].pid

    answered = await house.act("system.restart_with_config", config_version=first.version)
    await eventually(house.processes, lambda found: found["worker-1"].pid not in (None, before), every_s=0.1)

    assert ["max_queued_jobs"] == answered.changed_keys
    assert answered.config_version > first.version
    assert "NOT_FOUND" == await house.refused("system.restart_with_config", config_version=10_000)


def _is_worker(process: Process) -> bool:
    return process.service == Service.WORKERS
