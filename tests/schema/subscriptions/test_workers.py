"""Workers are shown as they are when they come, are paused and go: to every tenant, for they are the house's."""

from db import workers
from db.database import Database
from db.models.identity import Role
from db.models.work import WorkerState
from resolvers.context import Services
from tests.conftest import People
from tests.db.test_workers import said
from tests.schema.test_subscription import watched

WORKERS = """
subscription($id: ID) {
  workerChanged(id: $id) { ... on WorkerChange { workerId worker { id state desiredState alive } } }
}
"""


async def beat(database: Database, name: str, state: WorkerState) -> None:
    async with database.system() as tx:
        await workers.beat(tx, said(name, state))


async def test_a_worker_is_shown_as_it_comes_is_paused_and_goes(
    live: Services, database: Database, people: People, other_people: People
) -> None:
    async with (
        watched(live, people[Role.READONLY], WORKERS) as ours,
        watched(live, other_people[Role.ADMIN], WORKERS) as theirs,
    ):
        told = []
        for state in (WorkerState.IDLE, WorkerState.PAUSED, WorkerState.STOPPED):
            await beat(database, "w1", WorkerState.ACTIVE if state is WorkerState.STOPPED else state)
            await beat(database, "w1", state)
            told.append((await ours())["workerChanged"]["worker"])
            if state is WorkerState.STOPPED:
                told.append((await ours())["workerChanged"]["worker"])
        elsewhere = (await theirs())["workerChanged"]["workerId"]

    assert "w1" == elsewhere
    assert [("IDLE", True), ("PAUSED", True), ("STOPPED", False), ("STOPPED", False)] == [
        (each["state"], each["alive"]) for each in told
    ]


async def test_what_is_asked_of_one_worker_is_shown(live: Services, database: Database, people: People) -> None:
    for name in ("w1", "w2"):
        await beat(database, name, WorkerState.IDLE)
    async with watched(live, people[Role.ADMIN], WORKERS, id="w2") as answers:
        async with database.transaction("default") as tx:
            await workers.desire(tx, ["w1", "w2"], WorkerState.PAUSED)
        told = (await answers())["workerChanged"]

    expected = {"id": "w2", "state": "IDLE", "desiredState": "PAUSED", "alive": True}
    assert {"workerId": "w2", "worker": expected} == told


async def test_a_worker_that_is_not_there_cannot_be_watched(live: Services, people: People) -> None:
    async with watched(live, people[Role.ADMIN], WORKERS, id="nobody") as answers:
        assert ["NOT_FOUND"] == await answers()
