"""What is decided about managers is obeyed by the process that runs them, and told as it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from db import logs, managers
from db.logs import NewLine
from db.models.managers import ManagerId, ManagerState
from db.models.records import Severity
from guards.errors import BadInput, Conflict, NotControllable
from resolvers.context import Context, Services
from tests.acting import act
from tests.trails import anchors_in
from tests.waiting import eventually
from workers.managers import known
from workers.rounds import Rounds


@pytest.fixture(autouse=True)
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that look for decisions more often than twice a second."""
    monkeypatch.setattr("workers.rounds.LOOK_EVERY_S", 0.05)


@asynccontextmanager
async def at_work(services: Services, process: str = "here") -> AsyncIterator[None]:
    """A process with all of its managers."""
    anchors = anchors_in(services.database, services.files.root.parent)
    rounds = Rounds(services.database, process, known(services.database, services.files, services.snapshots, anchors))
    task = asyncio.create_task(rounds.run())
    try:
        await eventually(lambda: _runs(services, process), bool)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest_asyncio.fixture
async def working(services: Services) -> AsyncIterator[None]:
    """One process that has managers."""
    async with at_work(services):
        yield


@pytest_asyncio.fixture
async def seldom(services: Services) -> AsyncIterator[None]:
    """The same, after the one round of the queue's manager that there is while a test lasts."""
    async with services.database.system() as tx:
        await managers.asked(tx, ManagerId.QUEUE)
        await managers.ask(tx, ManagerId.QUEUE, every_s=3600.0)
    async with at_work(services):
        await eventually(lambda: _rounds(services), lambda rounds: rounds == 1)
        yield


async def _runs(services: Services, process: str) -> dict[ManagerId, managers.Run]:
    async with services.database.system() as tx:
        return {run.manager: run for run in await managers.runs(tx, process=process)}


async def _state(services: Services, manager: ManagerId) -> ManagerState:
    return (await _runs(services, "here"))[manager].state


@pytest.mark.usefixtures("working")
async def test_a_stopped_manager_has_stopped_when_the_answer_comes(services: Services, admin: Context) -> None:
    changed = await act(admin, "manager.stop", manager_id="queue")

    assert (ManagerState.RUNNING, ManagerState.STOPPED) == (changed.previous_state, changed.state)
    assert (1, 1) == (changed.processes, changed.obeyed)
    assert ManagerState.STOPPED is await _state(services, ManagerId.QUEUE)


@pytest.mark.usefixtures("working")
async def test_a_manager_is_started_again(services: Services, admin: Context) -> None:
    await act(admin, "manager.stop", manager_id="queue")
    changed = await act(admin, "manager.start", manager_id="queue")

    assert (ManagerState.STOPPED, ManagerState.RUNNING) == (changed.previous_state, changed.state)
    assert ManagerState.RUNNING is await _state(services, ManagerId.QUEUE)


async def test_every_process_obeys(services: Services, admin: Context) -> None:
    async with at_work(services), at_work(services, "there"):
        changed = await act(admin, "manager.stop", manager_id="analytics")

        assert (2, 2) == (changed.processes, changed.obeyed)
        assert ManagerState.STOPPED is (await _runs(services, "there"))[ManagerId.ANALYTICS].state


@pytest.mark.usefixtures("working")
async def test_a_restarted_manager_runs_since_then(services: Services, admin: Context) -> None:
    before = (await _runs(services, "here"))[ManagerId.CLEANUP].since
    changed = await act(admin, "manager.restart", manager_id="cleanup")

    assert (ManagerState.RUNNING, 1) == (changed.state, changed.obeyed)
    assert (await _runs(services, "here"))[ManagerId.CLEANUP].since > before


@pytest.mark.usefixtures("working")
async def test_all_are_started(services: Services, admin: Context) -> None:
    await act(admin, "manager.stop", manager_id="queue")
    await act(admin, "manager.force_kill", manager_id="upload", confirm=True)
    changed = await act(admin, "manager.start_all")

    assert {ManagerState.RUNNING} == {result.state for result in changed.results}
    assert {ManagerState.RUNNING} == {run.state for run in (await _runs(services, "here")).values()}


@pytest.mark.usefixtures("working")
async def test_all_are_restarted(services: Services, admin: Context) -> None:
    before = {manager: run.since for manager, run in (await _runs(services, "here")).items()}
    changed = await act(admin, "manager.restart_all")

    after = {manager: run.since for manager, run in (await _runs(services, "here")).items()}
    assert {1} == {result.obeyed for result in changed.results}
    assert [] == [manager for manager, since in before.items() if after[manager] <= since]


@pytest.mark.usefixtures("working")
async def test_a_killed_manager_has_failed_and_stays_so(services: Services, admin: Context) -> None:
    changed = await act(admin, "manager.force_kill", manager_id="upload", confirm=True)

    assert (ManagerState.FAILED, 1) == (changed.state, changed.obeyed)
    assert ManagerState.FAILED is await _state(services, ManagerId.UPLOAD)


@pytest.mark.usefixtures("working")
async def test_it_is_not_killed_without_being_sure(services: Services, admin: Context) -> None:
    with pytest.raises(BadInput):
        await act(admin, "manager.force_kill", manager_id="upload", confirm=False)

    assert ManagerState.RUNNING is await _state(services, ManagerId.UPLOAD)


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize(
    ("name", "given"),
    [("manager.stop", {}), ("manager.force_kill", {"confirm": True}), ("manager.configure", {"enabled": False})],
)
async def test_who_only_watches_is_not_stopped(
    services: Services, admin: Context, name: str, given: dict[str, Any]
) -> None:
    with pytest.raises(Conflict):
        await act(admin, name, manager_id="database", **given)

    assert ManagerState.RUNNING is await _state(services, ManagerId.DATABASE)


@pytest.mark.usefixtures("working")
async def test_what_is_configured_is_in_force_when_the_answer_comes(services: Services, admin: Context) -> None:
    changed = await act(admin, "manager.configure", manager_id="queue", interval_s=1, options={"most": 7})

    assert {"interval_s": 1.0, "options": {"most": 7}} == changed.applied
    assert (1, 1) == (changed.processes, changed.obeyed)
    rounds = (await _runs(services, "here"))[ManagerId.QUEUE].rounds
    await eventually(lambda: _rounds(services), lambda seen: seen > rounds)


async def _rounds(services: Services) -> int:
    return (await _runs(services, "here"))[ManagerId.QUEUE].rounds


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("given", [{}, {"options": {"least": 1}}, {"options": {"most": 0}}])
async def test_what_cannot_be_set_is_refused_and_changes_nothing(
    services: Services, admin: Context, given: dict[str, Any]
) -> None:
    with pytest.raises(BadInput):
        await act(admin, "manager.configure", manager_id="queue", **given)

    async with services.database.system() as tx:
        assert {} == (await managers.asked(tx, ManagerId.QUEUE)).options


async def test_options_that_are_set_one_by_one_stay(services: Services, admin: Context) -> None:
    async with at_work(services):
        await act(admin, "manager.configure", manager_id="queue", options={"most": 7})
        changed = await act(admin, "manager.configure", manager_id="queue", interval_s=9)

    assert {"interval_s": 9.0} == changed.applied
    async with services.database.system() as tx:
        assert {"most": 7} == (await managers.asked(tx, ManagerId.QUEUE)).options


@pytest.mark.usefixtures("seldom")
async def test_a_reset_manager_is_as_it_was_in_the_beginning(services: Services, admin: Context) -> None:
    await act(admin, "manager.configure", manager_id="queue", interval_s=60, options={"most": 7})
    reset = await act(admin, "manager.reset_state", manager_id="queue")

    assert (1, 0, 1) == (reset.rounds, reset.errors, reset.obeyed)
    async with services.database.system() as tx:
        wish = await managers.asked(tx, ManagerId.QUEUE)
    assert (None, {}) == (wish.every_s, wish.options)


async def test_a_managers_own_lines_are_read_and_no_others(services: Services, admin: Context) -> None:
    async with services.database.transaction("default") as tx:
        for category in ("workers.managers.queue", "workers.managers.cleanup", "workers.turn"):
            line = NewLine(level=Severity.WARNING, source="worker", message=f"from {category}", category=category)
            await logs.write(tx, [line, line])

    found = await act(admin, "manager.view_logs", manager_id="queue", lines=1)

    assert ["from workers.managers.queue"] == [line.message for line in found.entries]
    assert found.truncated


@pytest.mark.usefixtures("seldom")
async def test_figures_are_those_of_rounds_that_were_done(admin: Context) -> None:
    figures = {each.id: each for each in (await act(admin, "manager.performance_metrics", window="5m")).managers}

    queue = figures[ManagerId.QUEUE]
    assert (ManagerState.RUNNING, 1, 1.0, 0.0, 0.2) == (
        queue.state,
        queue.rounds,
        queue.success_rate,
        queue.error_rate,
        queue.requests_per_minute,
    )
    assert queue.response_time_ms is not None
    assert (None, None, 0) == (
        figures[ManagerId.SNAPSHOT].response_time_ms,
        figures[ManagerId.SNAPSHOT].success_rate,
        figures[ManagerId.SNAPSHOT].rounds,
    )


async def test_what_nobody_measured_is_null(admin: Context) -> None:
    [figures] = (await act(admin, "manager.performance_metrics", manager_id="audit")).managers

    assert (None, None, None, None) == (figures.state, figures.response_time_ms, figures.cpu_usage, figures.last_error)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("manager.start", {"manager_id": "queue"}),
        ("manager.stop", {"manager_id": "queue"}),
        ("manager.restart", {"manager_id": "queue"}),
        ("manager.configure", {"manager_id": "queue", "interval_s": 5}),
        ("manager.force_kill", {"manager_id": "queue", "confirm": True}),
        ("manager.reset_state", {"manager_id": "queue"}),
        ("manager.start_all", {}),
        ("manager.restart_all", {}),
    ],
)
async def test_where_nobody_runs_managers_nothing_is_decided(
    services: Services, admin: Context, name: str, given: dict[str, Any]
) -> None:
    with pytest.raises(NotControllable):
        await act(admin, name, **given)

    async with services.database.system() as tx:
        assert [] == await managers.wishes(tx)
