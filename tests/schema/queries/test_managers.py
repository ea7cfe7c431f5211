"""Managers over GraphQL: each as it is asked to be, with what every process says of its own."""

from datetime import UTC, datetime
from typing import Any, Final

from db import managers
from db.database import Database
from db.managers import Said
from db.models.identity import Role
from db.models.managers import ManagerId, ManagerState, ManagerWish
from tests.conftest import People
from tests.schema.conftest import Ask

MANAGERS: Final = """{ managers {
  id wish state everyS options runs { process state version rounds errors lastError lastRoundAt since }
} }"""
SINCE: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def said(state: ManagerState, *, rounds: int = 0, errors: int = 0, last_error: str | None = None) -> Said:
    """What a process says of its queue manager."""
    return Said(
        manager=ManagerId.QUEUE,
        state=state,
        version=1,
        rounds=rounds,
        errors=errors,
        last_error=last_error,
        last_round_at=None,
        since=SINCE,
    )


async def told(ask: Ask, people: People) -> dict[str, dict[str, Any]]:
    """The managers that an administrator sees, by id."""
    answer = await ask(people[Role.ADMIN], MANAGERS)
    assert answer.errors is None
    assert answer.data is not None
    return {each["id"]: each for each in answer.data["managers"]}


async def test_a_manager_that_nobody_runs_and_nobody_changed_is_as_it_usually_is(ask: Ask, people: People) -> None:
    seen = await told(ask, people)

    assert [manager.name for manager in ManagerId] == list(seen)
    assert {"id": "QUEUE", "wish": "RUNNING", "state": None, "everyS": None, "options": {}, "runs": []} == seen["QUEUE"]


async def test_a_manager_is_told_as_it_was_asked_to_be_and_as_its_liveliest_process(
    ask: Ask, database: Database, people: People
) -> None:
    async with database.system() as tx:
        await managers.asked(tx, ManagerId.QUEUE)
        await managers.ask(tx, ManagerId.QUEUE, wish=ManagerWish.STOPPED, every_s=7.5, options={"most": 2})
        await managers.say(tx, "one", [said(ManagerState.STOPPED, rounds=4)], [])
        await managers.say(tx, "two", [said(ManagerState.RUNNING, rounds=9, errors=1, last_error="too late")], [])

    queue = (await told(ask, people))["QUEUE"]

    assert ("STOPPED", "RUNNING", 7.5, {"most": 2}) == (
        queue["wish"],
        queue["state"],
        queue["everyS"],
        queue["options"],
    )
    rest = {"version": 1, "lastRoundAt": None, "since": SINCE.isoformat()}
    assert [
        {"process": "one", "state": "STOPPED", "rounds": 4, "errors": 0, "lastError": None, **rest},
        {"process": "two", "state": "RUNNING", "rounds": 9, "errors": 1, "lastError": "too late", **rest},
    ] == queue["runs"]
