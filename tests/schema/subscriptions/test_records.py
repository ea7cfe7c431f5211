"""What is written down is told as it is: to those who may read it, in full, and again to who comes back."""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest
import sqlalchemy as sa

from db import events, logs, workers
from db.database import Database
from db.events import LAST, START, Cursor, Kind
from db.logs import Filter, NewLine
from db.models.identity import Role
from db.models.records import Severity
from db.models.records import events as rows
from db.models.work import WorkerState
from guards.audit import Outcome
from guards.lockouts import AlertReason
from resolvers.context import Services
from resolvers.live import MAILBOX
from schema.root import schema
from tests.acting import act
from tests.conftest import OTHER_TENANT, People
from tests.db.test_workers import said
from tests.schema.test_subscription import watched
from tests.trails import entry
from tests.uploading import context_of

EVENTS = """
subscription($kinds: [EventKind!], $after: String) {
  events(kinds: $kinds, after: $after) {
    ... on EventTold { cursor kind entityId payload createdAt }
    ... on Resync { reason cursor snapshotVersion }
  }
}
"""
LOGS = """
subscription($filter: LogFilter, $after: String, $token: String) {
  logAppended(filter: $filter, after: $after, token: $token) {
    ... on LogChange { cursor lines { level source message } }
    ... on Resync { reason cursor }
  }
}
"""
ALERTS = """
subscription($after: String) {
  securityAlert(after: $after) { ... on SecurityAlert { cursor alert userId } ... on Resync { reason cursor } }
}
"""
ACTIONS = """
subscription($action: String, $after: String) {
  actionExecuted(action: $action, after: $after) {
    ... on ActionExecution { cursor action target outcome code role actor { id } } ... on Resync { reason cursor }
  }
}
"""
AGENTS = """
subscription($after: String) {
  agentChanged(after: $after) { ... on AgentChange { cursor agentId } ... on Resync { reason cursor } }
}
"""
WORKERS = """
subscription($after: String) {
  workerChanged(after: $after) { ... on WorkerChange { cursor workerId } ... on Resync { reason cursor } }
}
"""


def line(message: str, *, level: Severity = Severity.INFO, source: str = "worker") -> NewLine:
    return NewLine(level=level, source=source, message=message)


async def write(database: Database, *lines: NewLine, tenant: str = "default") -> None:
    async with database.transaction(tenant) as tx:
        await logs.write(tx, lines)


async def tell(database: Database, kind: Kind, *names: str, tenant: str = "default", **payload: Any) -> None:
    async with database.transaction(tenant) as tx:
        for name in names:
            await events.record(tx, kind, name, payload)


async def alert(database: Database, name: str, *, tenant: str = "default", about: UUID | None = None) -> None:
    """Alert those who watch of too many bad tokens."""
    async with database.transaction(tenant) as tx:
        await events.record(tx, Kind.SECURITY_ALERTED, name, {"reason": AlertReason.BAD_TOKENS}, owner=about)


async def do(services: Services, name: str, *, tenant: str = "default", action: str = "job.cancel") -> None:
    """Put on record that something was done."""
    async with services.database.transaction(tenant) as tx:
        await services.chain.audit.done(tx, entry(tenant=tenant, action=action, target=name), b"{}")


async def test_an_event_is_told_as_it_is_on_record(live: Services, database: Database, people: People) -> None:
    async with watched(live, people[Role.ADMIN], EVENTS) as answers:
        await tell(database, Kind.CONFIG_CHANGED, "default", version=3, changed=["log_level"])
        told = (await answers())["events"]
    async with database.system() as tx:
        [event] = await events.after(tx, START)

    assert {
        "cursor": str(event.cursor),
        "kind": "CONFIG_CHANGED",
        "entityId": "default",
        "payload": {"version": 3, "changed": ["log_level"]},
        "createdAt": event.created_at.isoformat(),
    } == told


async def test_only_events_of_the_kinds_that_were_asked_for_are_told(
    live: Services, database: Database, people: People
) -> None:
    kinds = ["AGENT_CHANGED", "QUEUE_CHANGED"]
    async with watched(live, people[Role.ADMIN], EVENTS, kinds=kinds) as answers:
        for kind in Kind:
            await tell(database, kind, "x", action="job.cancel")

        assert ["QUEUE_CHANGED", "AGENT_CHANGED"] == [(await answers())["events"]["kind"] for _ in kinds]


HEARD = {
    Role.ADMIN: set(Kind),
    Role.OPERATOR: set(Kind) - {Kind.USER_CHANGED},
    Role.SUPERVISOR: set(Kind) - {Kind.USER_CHANGED},
    Role.READONLY: set(Kind) - {Kind.USER_CHANGED, Kind.ACTION_EXECUTED},
}


@pytest.mark.parametrize("role", HEARD)
async def test_each_hears_of_the_kinds_they_may_read_and_of_no_tenant_but_theirs(
    role: Role, live: Services, database: Database, people: People
) -> None:
    """The last event is one that all may hear: what somebody was not to hear would have come before it."""
    async with watched(live, people[role], EVENTS) as answers:
        for kind in Kind:
            await tell(database, kind, "theirs", tenant=OTHER_TENANT, action="job.cancel")
            await tell(database, kind, "ours", action="job.cancel")
        await tell(database, Kind.QUEUE_CHANGED, "end")
        told: list[Any] = []
        while not told or told[-1]["entityId"] != "end":
            told.append((await answers())["events"])

    assert HEARD[role] == {Kind[each["kind"]] for each in told}
    assert ["ours"] * len(HEARD[role]) + ["end"] == [each["entityId"] for each in told]


@pytest.mark.parametrize(
    ("role", "kind", "code"),
    [
        (Role.READONLY, "ACTION_EXECUTED", "FORBIDDEN"),
        (Role.OPERATOR, "USER_CHANGED", "FORBIDDEN"),
        (Role.USER, "JOB_CHANGED", "FORBIDDEN"),
    ],
)
async def test_asking_for_what_one_may_not_hear_is_refused(
    role: Role, kind: str, code: str, live: Services, people: People
) -> None:
    async with watched(live, people[role], EVENTS, kinds=[kind]) as answers:
        assert [code] == await answers()


async def test_every_event_is_told_however_many_are_about_one_thing(
    live: Services, database: Database, people: People
) -> None:
    """Where only changes are told, the newest about a thing stands for those before it; this is what was written."""
    many = range(MAILBOX + 20)
    async with watched(live, people[Role.ADMIN], EVENTS) as answers:
        async with database.transaction("default") as tx:
            told = [("job", {"number": number}, None, "default") for number in many]
            await events.record_all(tx, Kind.JOB_CHANGED, told)

        assert list(many) == [(await answers())["events"]["payload"]["number"] for _ in many]


async def test_lines_are_told_as_they_are_written_to_their_tenant_alone(
    live: Services, database: Database, people: People, other_people: People
) -> None:
    async with watched(live, people[Role.READONLY], LOGS) as ours, watched(live, other_people[Role.ADMIN], LOGS) as its:
        await write(database, line("theirs"), tenant=OTHER_TENANT)
        await write(database, line("one"), line("two", level=Severity.ERROR, source="api"))
        await write(database, line("three"))
        told = [(await ours())["logAppended"]["lines"] for _ in range(2)]

        assert [{"one", "two"}, {"three"}] == [{each["message"] for each in lines} for lines in told]
        assert {"level": "ERROR", "source": "api", "message": "two"} in told[0]
        assert ["theirs"] == [each["message"] for each in (await its())["logAppended"]["lines"]]


@pytest.mark.parametrize(
    "wanted",
    [
        {"levels": ["ERROR"]},
        {"source": "api"},
        {"messageContains": "ThIs"},
        {"levels": ["ERROR"], "source": "api", "messageContains": "this"},
    ],
)
async def test_only_lines_that_a_filter_selects_are_told_and_no_change_without_any(
    wanted: dict[str, Any], live: Services, database: Database, people: People
) -> None:
    async with watched(live, people[Role.ADMIN], LOGS, filter=wanted) as answers:
        await write(database, line("other"))
        await write(database, line("other"), line("this", level=Severity.ERROR, source="api"))
        told = (await answers())["logAppended"]

    assert [{"level": "ERROR", "source": "api", "message": "this"}] == told["lines"]


async def test_lines_that_were_cleared_before_they_could_be_read_are_not_shown(
    live: Services, database: Database, people: People
) -> None:
    async with watched(live, people[Role.ADMIN], LOGS) as answers:
        async with database.transaction("default") as tx:
            await logs.write(tx, [line("one")])
            await logs.clear(tx, Filter(), most=9)

        assert [] == (await answers())["logAppended"]["lines"]


async def token_of(services: Services, people: People, role: Role = Role.SUPERVISOR) -> str:
    """Leave to follow what the api writes of errors."""
    issued = await act(context_of(services, people[role]), "logs.stream_realtime", level="error", source="api")
    return str(issued.stream_id)


async def test_leave_that_was_given_says_which_lines_and_is_good_once(
    live: Services, database: Database, people: People
) -> None:
    token = await token_of(live, people)
    supervisor = people[Role.SUPERVISOR]
    async with watched(live, supervisor, LOGS, token=token) as answers:
        await write(database, line("no"), line("nor this", source="api"))
        await write(database, line("yes", level=Severity.CRITICAL, source="api"), line("no", level=Severity.ERROR))

        assert ["yes"] == [each["message"] for each in (await answers())["logAppended"]["lines"]]
    async with watched(live, supervisor, LOGS, token=token) as answers:
        assert ["NOT_FOUND"] == await answers()


async def test_leave_is_of_no_use_to_others_nor_beside_a_filter(live: Services, people: People) -> None:
    token = await token_of(live, people)
    async with watched(live, people[Role.ADMIN], LOGS, token=token, filter={"source": "worker"}) as answers:
        assert ["VALIDATION_ERROR"] == await answers()
    async with watched(live, people[Role.ADMIN], LOGS, token=token) as answers:
        assert ["NOT_FOUND"] == await answers()


async def test_alerts_are_told_with_their_reason_and_whom_they_concern(
    live: Services, database: Database, people: People
) -> None:
    somebody = people[Role.USER]
    async with watched(live, people[Role.OPERATOR], ALERTS) as answers:
        await alert(database, "elsewhere", tenant=OTHER_TENANT)
        for number in range(5):
            await live.lockouts.denied("default", somebody.id, f"{number:032}")
        await alert(database, "here")
        told = [(await answers())["securityAlert"] for _ in range(2)]

    assert [("ACTIONS_DENIED", str(somebody.id)), ("BAD_TOKENS", None)] == [
        (each["alert"], each["userId"]) for each in told
    ]


async def test_an_action_is_told_when_it_was_done_and_when_it_was_refused(
    live: Services, database: Database, people: People
) -> None:
    operator, admin = people[Role.OPERATOR], people[Role.ADMIN]
    async with watched(live, admin, ACTIONS) as answers:
        await do(live, "elsewhere", tenant=OTHER_TENANT)
        await act(context_of(live, operator), "queue.pause")
        refused = context_of(live, operator).entry("job.cancel", "7")
        await live.chain.audit.refused(refused, Outcome.DENIED, "FORBIDDEN")
        told = [(await answers())["actionExecuted"] for _ in range(2)]

    by = {"role": "operator", "actor": {"id": str(operator.id)}}
    for each in told:
        del each["cursor"]
    assert [
        {"action": "queue.pause", "target": None, "outcome": "DONE", "code": None, **by},
        {"action": "job.cancel", "target": "7", "outcome": "DENIED", "code": "FORBIDDEN", **by},
    ] == told


async def test_who_reads_of_jobs_alone_in_the_trail_hears_of_nothing_else(live: Services, people: People) -> None:
    """Neither where actions are told, nor where everything is."""
    supervisor = people[Role.SUPERVISOR]
    async with (
        watched(live, supervisor, ACTIONS) as actions,
        watched(live, supervisor, EVENTS, kinds=["ACTION_EXECUTED"]) as everything,
        watched(live, people[Role.ADMIN], EVENTS, kinds=["ACTION_EXECUTED"]) as control,
    ):
        await do(live, "x", action="config.save")
        await do(live, "y")

        assert "y" == (await actions())["actionExecuted"]["target"]
        assert "y" == (await everything())["events"]["entityId"]
        assert ["x", "y"] == [(await control())["events"]["entityId"] for _ in range(2)]


async def test_one_action_can_be_watched_alone(live: Services, people: People) -> None:
    async with watched(live, people[Role.ADMIN], ACTIONS, action="job.delete") as answers:
        await do(live, "x")
        await do(live, "y", action="job.delete")

        assert "y" == (await answers())["actionExecuted"]["target"]


@pytest.mark.parametrize(
    ("meant", "named"),
    [("queuePause", "queue.pause"), ("job.cancle", "job.cancel"), ("uplod.chunk", "upload.chunk")],
)
async def test_an_action_that_there_is_not_cannot_be_watched(
    live: Services, people: People, meant: str, named: str
) -> None:
    """Nobody would ever be told of it."""
    stream = schema.told(ACTIONS, variables={"action": meant}, context=context_of(live, people[Role.ADMIN]))
    async with aclosing(stream):
        [error] = json.loads((await anext(stream)).body)["errors"]

    assert "UNKNOWN_ACTION" == error["extensions"]["code"]
    assert error["message"].startswith(f"action: there is no action {meant}; did you mean {named}")


@pytest.mark.parametrize("action", ["upload.chunk", "operation.end", "user.add", "something.of_once"])
async def test_what_the_trail_knows_beside_actions_can_be_watched(live: Services, people: People, action: str) -> None:
    """By name, or because it is there."""
    await do(live, "x", action="something.of_once")
    async with watched(live, people[Role.ADMIN], ACTIONS, action=action) as answers:
        await do(live, "y", action=action)

        assert "y" == (await answers())["actionExecuted"]["target"]


Cause = Callable[[Services, str], Awaitable[None]]


async def _told(services: Services, name: str) -> None:
    await tell(services.database, Kind.QUEUE_CHANGED, name)


async def _written(services: Services, name: str) -> None:
    await write(services.database, line(name))


def account(name: str) -> UUID:
    return uuid5(NAMESPACE_OID, name)


async def _alerted(services: Services, name: str) -> None:
    await alert(services.database, name, about=account(name))


async def _changed(services: Services, name: str) -> None:
    await tell(services.database, Kind.AGENT_CHANGED, name)


async def _beaten(services: Services, name: str) -> None:
    async with services.database.system() as tx:
        await workers.beat(tx, said(name, WorkerState.IDLE))


ACCOUNTS: Final = {str(account(name)): name for name in ("first", "second", "third", "fourth", "next")}
STREAMS: dict[str, tuple[str, Cause, Callable[[Any], str]]] = {
    "events": (EVENTS, _told, lambda told: str(told["entityId"])),
    "logAppended": (LOGS, _written, lambda told: str(told["lines"][0]["message"])),
    "securityAlert": (ALERTS, _alerted, lambda told: ACCOUNTS[told["userId"]]),
    "actionExecuted": (ACTIONS, do, lambda told: str(told["target"])),
    "agentChanged": (AGENTS, _changed, lambda told: str(told["agentId"])),
    "workerChanged": (WORKERS, _beaten, lambda told: str(told["workerId"])),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_who_comes_back_misses_nothing_and_is_told_when_something_is_gone(
    name: str, live: Services, database: Database, people: People
) -> None:
    document, cause, shown = STREAMS[name]
    admin = people[Role.ADMIN]
    async with watched(live, admin, document) as answers:
        await cause(live, "first")
        first = (await answers())[name]
    await cause(live, "second")
    async with watched(live, admin, document, after=first["cursor"]) as answers:
        await cause(live, "third")
        again = [shown((await answers())[name]) for _ in range(2)]
    async with database.system() as tx:
        await tx.execute(sa.delete(rows).where(rows.c.tenant_id == "default"))
    async with watched(live, admin, document, after=first["cursor"]) as answers:
        resync = (await answers())[name]
        await cause(live, "fourth")
        on = shown((await answers())[name])
    async with watched(live, admin, document, after=resync["cursor"]) as answers:
        taken_up = shown((await answers())[name])

    assert ("first", ["second", "third"]) == (shown(first), again)
    assert ("TOO_OLD", "fourth", "fourth") == (resync["reason"], on, taken_up)
    assert Cursor.parsed(resync["cursor"]) > Cursor.parsed(first["cursor"])


@pytest.mark.parametrize("name", STREAMS)
async def test_a_cursor_of_elsewhere_is_answered_with_where_to_go_on(name: str, live: Services, people: People) -> None:
    document, cause, shown = STREAMS[name]
    async with watched(live, people[Role.ADMIN], document, after=str(Cursor(LAST, LAST))) as answers:
        resync = (await answers())[name]
        await cause(live, "next")

        assert ("UNKNOWN", "next") == (resync["reason"], shown((await answers())[name]))
