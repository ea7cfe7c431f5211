"""What is executed once for several: never for too many of them, and nothing of one in what another gets."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from typing import Any
from uuid import UUID, uuid4

import pytest

from db import events, jobs, operations
from db.database import Database
from db.events import Cursor
from db.jobs import NewJob
from db.models.identity import Role
from db.users import User
from guards.permissions import Permission, granted
from resolvers.context import Context, Scope, Services
from schema import watching
from schema.root import schema
from schema.watching import Asked, Audience, Told, Watching
from tests.conftest import People
from tests.schema.conftest import Ask
from tests.uploading import context_of
from tests.waiting import until

PARTS = {
    "job": "id title status owner { id email } steps { agentId status } clips { id } upload { id }",
    "operation": "id action state result",
}
WATCHES = {
    name: f"subscription($after: String) {{ {name}Changed(after: $after) "
    f"{{ ... on {name.title()}Change {{ cursor {name} {{ {parts} }} }} }} }}"
    for name, parts in PARTS.items()
}
READS = {name: f"query($id: ID!) {{ {name}(id: $id) {{ {parts} }} }}" for name, parts in PARTS.items()}


NOBODYS = Asked("", None, b"{}", Scope(tenant="a", role=Role.USER, may=frozenset(), user_id=None))


class Viewer:
    """Somebody who watches one kind of thing."""

    def __init__(self, services: Services, user: User, kind: str, after: str | None = None) -> None:
        self.user = user
        self.kind = kind
        self.heard: list[Told] = []
        self._stream: AsyncGenerator[Told, None] = schema.told(
            WATCHES[kind], variables={"after": after}, context=context_of(services, user)
        )

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What was told, newest last."""
        return [json.loads(told.body)["data"][f"{self.kind}Changed"][self.kind] for told in self.heard]

    async def hear(self, until_id: str) -> None:
        """Listen until something is told of the thing of that id."""
        async with aclosing(self._stream), asyncio.timeout(60):
            async for told in self._stream:
                assert told.ok, told.body
                self.heard.append(told)
                if self.shown[-1]["id"] == until_id:
                    return


async def begun(database: Database, owner: User, kind: str) -> str:
    """Something of a user's; an operation is over, and has an answer."""
    async with database.transaction(owner.tenant_id) as tx:
        if kind == "job":
            job = NewJob(user_id=owner.id, source_url="http://a", title=f"of {owner.email}", chain=["clipper"])
            return str((await jobs.add(tx, job)).id)
        action = random.choice(["database.create_backup", "job.cancel"])
        operation = await operations.add(tx, action, actor=owner.id, trace_id=None)
        await operations.finish(tx, operation.id, {"told to": owner.email})
        return str(operation.id)


async def watched(services: Services, viewers: Sequence[Viewer], owners: Sequence[User]) -> list[tuple[User, str, str]]:
    """Have things happen to owners' things while viewers watch; whose, what, and of which id, in their order."""
    made: list[tuple[User, str, str]] = []
    for owner in owners:
        kind = random.choice([*PARTS])
        made.append((owner, kind, await begun(services.database, owner, kind)))
    own = {(viewer.user.id, viewer.kind): viewer for viewer in viewers}
    last: dict[tuple[UUID, str], str] = {}
    for key, viewer in own.items():
        last[key] = await begun(services.database, viewer.user, viewer.kind)
        made.append((viewer.user, viewer.kind, last[key]))
    async with asyncio.TaskGroup() as group:
        for count, viewer in enumerate(viewers):
            hearing = group.create_task(viewer.hear(last[viewer.user.id, viewer.kind]))
            if count % 5 == 4:
                # So that they do not wait for connections, but still watch at once.
                await until(lambda heard=viewer.heard, task=hearing: bool(heard) or task.done())
    return made


async def leaks(services: Services, ask: Ask, everybody: Sequence[User]) -> list[str]:
    """What viewers were told that they are not shown when they ask for it themselves, or were not told in its turn."""
    async with services.database.system() as tx:
        start = str(await events.edge(tx))
    viewers = [Viewer(services, user, kind, start) for user in everybody for kind in PARTS for _ in range(2)]
    random.shuffle(viewers)
    made = await watched(services, viewers, random.choices(everybody, k=20))
    found = []
    for viewer in viewers:
        told = list(dict.fromkeys(shown["id"] for shown in viewer.shown))
        theirs = [key for owner, kind, key in made if kind == viewer.kind and _sees(viewer.user, owner, kind)]
        if told != theirs[: theirs.index(told[-1]) + 1]:
            found.append(f"{viewer.user.email} was not told of what is theirs")
        for shown in {each["id"]: each for each in viewer.shown}.values():
            read = await ask(viewer.user, READS[viewer.kind], id=shown["id"])
            if read.data is None or read.data[viewer.kind] != shown:
                found.append(f"{viewer.user.email} was told {shown}")
    return found


def _sees(viewer: User, owner: User, kind: str) -> bool:
    if viewer.tenant_id != owner.tenant_id:
        return False
    everything = viewer.role is not Role.USER if kind == "job" else Permission.OPERATION_READ in granted(viewer.role)
    return everything or viewer.id == owner.id


@pytest.mark.parametrize("seed", range(2))
async def test_nobody_is_told_what_they_could_not_have_asked_for(
    seed: int, live: Services, ask: Ask, people: People, other_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody watches the same documents at once: what each is told is what each is shown who asks for it."""
    random.seed(seed)
    unlimited(live, monkeypatch)

    assert [] == await leaks(live, ask, [*people.values(), *other_people.values()])


@pytest.mark.parametrize("loose", ["user", "role"])
async def test_control_a_scope_that_lacks_something_leaks(
    loose: str, live: Services, ask: Ask, people: People, other_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above would see it."""
    random.seed(0)
    unlimited(live, monkeypatch)
    strict = Context.scope_of

    def loosened(self: Context, *, own: bool) -> Scope:
        if loose == "user":
            return strict(self, own=False)
        scope = strict(self, own=own)
        return Scope(tenant=scope.tenant, role=Role.ADMIN, may=granted(Role.ADMIN), user_id=scope.user_id)

    monkeypatch.setattr(Context, "scope_of", loosened)

    assert [] != await leaks(live, ask, [*people.values(), *other_people.values()])


def unlimited(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody ask as often as a test needs to compare."""

    async def free(*_: object) -> None:
        return None

    monkeypatch.setattr(services.rates, "charge", free)


async def test_an_event_is_executed_once_for_all_of_a_scope(live: Services, people: People) -> None:
    """They get the very same bytes; who has another scope gets others."""
    before = schema.watching(live.hub).executed
    async with live.database.system() as tx:
        start = str(await events.edge(tx))
    admins = [Viewer(live, people[Role.ADMIN], "job", start) for _ in range(20)]
    other = Viewer(live, people[Role.OPERATOR], "job", start)
    job = await begun(live.database, people[Role.USER], "job")
    async with asyncio.TaskGroup() as group:
        for viewer in (*admins, other):
            group.create_task(viewer.hear(job))

    assert before + 2 == schema.watching(live.hub).executed
    assert 1 == len({id(viewer.heard[0]) for viewer in admins})
    assert other.heard[0] is not admins[0].heard[0]
    assert {} == schema.watching(live.hub).audiences


async def test_where_somebody_begins_does_not_part_them_from_others(live: Services, people: People) -> None:
    """The variable `after` says nothing about what is told; any other does."""
    async with live.database.system() as tx:
        start = await events.edge(tx)
    contexts = [context_of(live, people[Role.ADMIN]) for _ in range(3)]
    document = WATCHES["job"]
    one = "subscription($id: ID, $after: String) { jobChanged(id: $id, after: $after) { __typename } }"
    asked: list[tuple[str, dict[str, Any]]] = [
        (document, {"after": str(start)}),
        (document, {"after": str(Cursor(start.xid - 1, 0))}),
        (one, {"id": None, "after": str(start)}),
    ]
    async with AsyncExitStack() as stack:
        for context, (query, variables) in zip(contexts, asked, strict=True):
            stream = await stack.enter_async_context(aclosing(schema.told(query, variables=variables, context=context)))
            listening = asyncio.ensure_future(anext(stream))
            stack.push_async_callback(_ended, listening)
        await until(lambda: sum(each.members.total() for each in schema.watching(live.hub).audiences.values()) == 3)
        members = sorted(audience.members.total() for audience in schema.watching(live.hub).audiences.values())

    assert [1, 2] == members


async def _ended(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_asked_first_may_leave_while_others_wait() -> None:
    kept, let = Watching(), asyncio.Event()
    audience = Audience(NOBODYS, kept)

    async def make() -> Told:
        await let.wait()
        return Told(b"{}")

    first = asyncio.create_task(audience.told(events.START, make))
    second = asyncio.create_task(audience.told(events.START, make))
    await until(lambda: kept.executed == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    let.set()

    assert b"{}" == (await second).body
    assert (1, 1) == (kept.executed, kept.told)


async def test_a_failure_is_everybodys_and_not_kept() -> None:
    audience = Audience(NOBODYS, Watching())

    async def fail() -> Told:
        raise OSError("no")

    async def make() -> Told:
        return Told(b"{}")

    waiting = [asyncio.create_task(audience.told(events.START, fail)) for _ in range(2)]
    failures = await asyncio.gather(*waiting, return_exceptions=True)

    assert [OSError, OSError] == [type(failure) for failure in failures]
    assert b"{}" == (await audience.told(events.START, make)).body


async def test_answers_are_kept_for_a_while_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, big = Watching(), b"x" * (watching.KEPT_BYTES // 4 + 1)
    audience = Audience(NOBODYS, kept)

    async def make() -> Told:
        return Told(big)

    for number in range(8):
        await audience.told(Cursor(1, number), make)
    await audience.told(Cursor(1, 7), make)
    again = kept.executed
    await audience.told(Cursor(1, 0), make)
    forgotten = kept.executed
    monkeypatch.setattr(watching, "KEPT_S", -1.0)
    await audience.told(Cursor(1, 0), make)

    assert (8, 9, 10) == (again, forgotten, kept.executed)
    assert len(audience._answers) <= 3
    assert sum(len(answer.told.body) for answer in audience._answers.values() if answer.told) == audience._bytes


def test_an_audience_is_there_while_somebody_is_in_it() -> None:
    kept = Watching()
    with kept.audience(NOBODYS, uuid4()) as first, kept.audience(NOBODYS, uuid4()) as second:
        assert first is second

    assert {} == kept.audiences


async def starved(monkeypatch: pytest.MonkeyPatch, each: int, *, patience_s: float) -> bool:
    """Whether somebody waits for their one event while another user's many are executed, which never end."""
    monkeypatch.setattr(watching, "EACH_AT_ONCE", each)
    kept, let = Watching(), asyncio.Event()

    async def long() -> Told:
        await let.wait()
        return Told(b"long")

    async def short() -> Told:
        return Told(b"short")

    greedy, modest = uuid4(), uuid4()
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(kept.audience(Asked(f"{number}", None, b"{}", NOBODYS.scope), greedy))
            for number in range(50)
        ]
        other = stack.enter_context(kept.audience(NOBODYS, modest))
        waiting = [asyncio.create_task(audience.told(events.START, long)) for audience in crowd]
        await until(lambda: kept.executed == min(each, watching.AT_ONCE))
        task = asyncio.create_task(other.told(events.START, short))
        done, _ = await asyncio.wait({task}, timeout=patience_s)
        let.set()
        await asyncio.gather(task, *waiting)
    return not done


async def test_what_one_user_watches_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control lets one user have all the turns."""
    assert not await starved(monkeypatch, 2, patience_s=60)
    assert await starved(monkeypatch, 100, patience_s=0.2)


async def test_an_answer_is_no_older_than_the_one_before_it() -> None:
    """Who is behind is told one that was made anew; what was kept of the next event shows how things stood before."""
    kept = Watching()
    audience, numbers = Audience(NOBODYS, kept), iter(range(10))

    async def make() -> Told:
        return Told(str(next(numbers)).encode())

    kept_of_second = await audience.told(Cursor(1, 2), make)
    first = await audience.told(Cursor(1, 1), make)
    second = await audience.told(Cursor(1, 2), make, since=first.at)
    again = await audience.told(Cursor(1, 2), make, since=0.0)

    assert (b"0", b"1", b"2", b"2") == (kept_of_second.body, first.body, second.body, again.body)


async def test_nothing_is_kept_once_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing else happens."""
    monkeypatch.setattr(watching, "KEPT_S", 0.05)
    audience = Audience(NOBODYS, Watching())

    async def make() -> Told:
        return Told(b"{}")

    await audience.told(events.START, make)
    await until(lambda: not audience._answers)

    assert 0 == audience._bytes
