"""Who may use what: all root fields against all roles, and what happens to a field that does not say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
import sqlalchemy as sa
import strawberry
from graphql import OperationType

from db.models.identity import Role
from db.users import User
from guards.permissions import Permission
from resolvers.context import Services
from schema import access
from schema.access import Guarded, Public, Requires, UnguardedField
from schema.build import build
from schema.fields import Info, described, fields_of, public, requires
from schema.mutation import Mutation
from schema.query import Query
from schema.root import schema
from schema.subscription import Subscription
from tests.schema.conftest import Ask
from tests.uploading import context_of
from tests.waiting import eventually

Who = frozenset[Role | None]
"""Roles, and None for nobody."""

SIGNED_IN: Who = frozenset(Role)
EVERYBODY: Who = SIGNED_IN | {None}
INSIDERS: Who = SIGNED_IN - {Role.USER}
WORKERS_OF: Who = SIGNED_IN - {Role.READONLY}
STEERING: Who = frozenset({Role.ADMIN, Role.OPERATOR})
AN_ID = "00000000-0000-7000-8000-000000000000"

READS: dict[str, tuple[str, Who]] = {
    "me": ("{ me { id } }", SIGNED_IN),
    "snapshot": ("{ snapshot { status } }", INSIDERS),
    "job": (f'{{ job(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "jobs": ("{ jobs { totalCount } }", SIGNED_IN),
    "clip": (f'{{ clip(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "clips": ("{ clips { totalCount } }", SIGNED_IN),
    "agent": ('{ agent(id: "clipper") { id } }', SIGNED_IN),
    "agents": ("{ agents { totalCount } }", SIGNED_IN),
    "queue": ("{ queue { queued } }", SIGNED_IN),
    "upload": (f'{{ upload(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "uploads": ("{ uploads { totalCount } }", SIGNED_IN),
    "logs": ("{ logs { totalCount } }", INSIDERS),
    "events": ("{ events { totalCount } }", INSIDERS),
    "workers": ("{ workers { totalCount } }", INSIDERS),
    "configuration": ("{ configuration { version } }", INSIDERS),
    "health": ("{ health { status } }", EVERYBODY),
    "node": ('{ node(id: "clipper") { id } }', SIGNED_IN),
}
ACTIONS: dict[str, tuple[str, Who]] = {
    "login": ('login(input: {email: "a@b.c", password: "wrong"}) { user { id } }', EVERYBODY),
    "refresh": ('refresh(input: {refreshToken: "wrong"}) { user { id } }', EVERYBODY),
    "logout": ("logout { userId }", SIGNED_IN),
    "jobCreate": ('jobCreate(input: {source: {url: "http://a.example/b"}}) { job { id } }', WORKERS_OF),
    "jobCancel": (f'jobCancel(input: {{jobId: "{AN_ID}"}}) {{ job {{ id }} }}', WORKERS_OF),
    "jobRetry": (f'jobRetry(input: {{jobId: "{AN_ID}"}}) {{ job {{ id }} }}', WORKERS_OF),
    "queuePause": ("queuePause { state { paused } }", STEERING),
    "queueResume": ("queueResume { state { paused } }", STEERING),
    "agentStart": ('agentStart(input: {agentId: "clipper"}) { agent { id } }', STEERING),
    "agentStop": ('agentStop(input: {agentId: "clipper"}) { agent { id } }', STEERING),
    "agentConfigure": ('agentConfigure(input: {agentId: "clipper", timeoutS: 9}) { agent { id } }', STEERING),
    "uploadInit": ('uploadInit(input: {filename: "a.mp4", sizeBytes: 9}) { upload { id } }', WORKERS_OF),
    "uploadFinalize": (f'uploadFinalize(input: {{uploadId: "{AN_ID}"}}) {{ upload {{ id }} }}', WORKERS_OF),
}
WATCHES: dict[str, tuple[str, Who]] = {
    "jobChanged": ("subscription { jobChanged { cursor } }", SIGNED_IN),
    "queueChanged": ("subscription { queueChanged { cursor } }", SIGNED_IN),
    "snapshotChanged": ("subscription { snapshotChanged { cursor } }", INSIDERS),
}
REFUSED = {"UNAUTHENTICATED", "FORBIDDEN"}


def code(errors: Any) -> str | None:
    return errors[0].extensions["code"] if errors else None


def somebody(who: Role | None, people: dict[Role, User]) -> User | None:
    return None if who is None else people[who]


def test_the_tables_above_know_every_root_field() -> None:
    """A field that is added without a line here has not been thought about."""
    roots = {
        kind: set(root.fields) for kind in OperationType if (root := schema._schema.get_root_type(kind)) is not None
    }

    assert set(READS) == roots[OperationType.QUERY]
    assert set(ACTIONS) == roots[OperationType.MUTATION]
    assert set(WATCHES) == roots[OperationType.SUBSCRIPTION]


@pytest.mark.parametrize("who", [None, *Role])
async def test_reads_are_answered_to_just_those_who_may(who: Role | None, ask: Ask, people: dict[Role, User]) -> None:
    caller = somebody(who, people)
    answers = {name: await ask(caller, document) for name, (document, _) in READS.items()}

    assert {name for name, (_, allowed) in READS.items() if who in allowed} == {
        name for name, answer in answers.items() if answer.errors is None
    }
    refused = "UNAUTHENTICATED" if who is None else "FORBIDDEN"
    assert {refused} >= {code(answer.errors) for answer in answers.values() if answer.errors}


@pytest.mark.parametrize("who", [None, *Role])
async def test_actions_are_done_for_just_those_who_may(
    who: Role | None, ask: Ask, people: dict[Role, User], services: Services
) -> None:
    """Who is refused changes nothing; who is not may still be told that something else is wrong."""
    caller = somebody(who, people)
    for name, (action, allowed) in ACTIONS.items():
        before = await _fingerprint(services)
        answer = await ask(caller, f"mutation {{ {action} }}")

        if allowed == EVERYBODY:
            assert answer.errors
            assert "sign in first" not in answer.errors[0].message
            continue
        assert (who not in allowed) is (code(answer.errors) in REFUSED), name
        assert who in allowed or before == await _fingerprint(services), name


@pytest.mark.parametrize("who", [None, *Role])
async def test_subscriptions_begin_for_just_those_who_may(
    who: Role | None, people: dict[Role, User], services: Services
) -> None:
    caller = somebody(who, people)
    for name, (document, allowed) in WATCHES.items():
        stream: Any = await schema.stream(document, context_value=context_of(services, caller))
        async with aclosing(stream):
            if who not in allowed:
                assert code((await anext(stream)).errors) in REFUSED, name
                continue
            waiting = asyncio.ensure_future(anext(stream))
            await eventually(_listeners(services), lambda count: count == 1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def _listeners(services: Services) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        return services.hub.listeners

    return count


async def _fingerprint(services: Services) -> list[Any]:
    """What actions could change, counted and dated."""
    async with services.database.system() as tx:
        return list(
            await tx.rows(
                sa.text(
                    "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM uploads), (SELECT count(*) FROM events),"
                    " (SELECT sum(revision) FROM agents), (SELECT count(*) FROM queue_states),"
                    " (SELECT sum(token_version) FROM users)"
                )
            )
        )


async def test_admin_reads_are_served_to_allowed_addresses_only(services: Services, people: dict[Role, User]) -> None:
    context = context_of(services, people[Role.ADMIN])
    context.address = "203.0.113.9"
    answers = {
        name: code((await schema.execute(document, context_value=context)).errors)
        for name, (document, _) in READS.items()
    }

    assert {"snapshot", "logs", "events", "workers", "configuration"} == {n for n, c in answers.items() if c}
    assert {"FORBIDDEN", None} == set(answers.values())


async def test_one_refused_field_leaves_the_others_of_a_read(ask: Ask, people: dict[Role, User]) -> None:
    answer = await ask(people[Role.USER], "{ me { role } logs { totalCount } }")

    assert {"me": {"role": "USER"}, "logs": None} == answer.data
    assert ["logs"] == (answer.errors or [])[0].path


async def test_every_alias_is_guarded(ask: Ask) -> None:
    answer = await ask(None, "{ a: me { id } b: me { id } }")

    assert ["UNAUTHENTICATED"] * 2 == [error.extensions["code"] for error in answer.errors or [] if error.extensions]


@pytest.mark.parametrize("root", [Query, Mutation, Subscription])
def test_the_sdl_says_of_every_root_field_who_may_use_it(root: type) -> None:
    for field in fields_of(root):
        said = [each for each in field.directives if isinstance(each, Public | Requires)]

        assert 1 == len(said), field.python_name


def test_a_field_that_does_not_say_who_may_use_it_is_not_built() -> None:
    @described
    class Root:
        """A root."""

        @strawberry.field
        def secret(self) -> str:
            return "told"

    with pytest.raises(UnguardedField, match=r"Root\.secret must say who may use it"):
        build(Root, None, None)


def test_a_directive_without_its_guard_is_not_built() -> None:
    """The words alone protect nothing."""

    @described
    class Root:
        """A root."""

        secret: str = strawberry.field(default="told", directives=[Requires(permissions=[[Permission.ADMIN]])])

    with pytest.raises(UnguardedField, match=r"Root\.secret"):
        access.check([Root])


@pytest.mark.parametrize("root", [Query, Mutation, Subscription])
def test_a_root_whose_guard_is_taken_away_is_not_built(root: type) -> None:
    field = fields_of(root)[0]
    kept = list(field.extensions)
    field.extensions.clear()
    try:
        with pytest.raises(UnguardedField, match=str(field.python_name)):
            build()
    finally:
        field.extensions.extend(kept)


def test_a_guard_names_a_permission() -> None:
    with pytest.raises(ValueError, match="at least one permission"):
        Guarded(((),))


@described
class Every:
    """Fields of each sort behind one guard."""

    @requires(Permission.JOB_CANCEL, (Permission.JOB_READ, Permission.LOG_READ))
    def sync(self) -> int:
        """Without waiting."""
        return 1

    @requires(Permission.JOB_CANCEL, (Permission.JOB_READ, Permission.LOG_READ))
    async def waiting(self) -> int:
        """With waiting."""
        return 2

    @public()
    def open(self) -> int:
        """For everybody."""
        return 3


@described
class Stream:
    """A stream behind a guard."""

    @requires(Permission.JOB_CANCEL)
    async def counted(self, info: Info) -> AsyncIterator[int]:
        """One, two."""
        yield 1
        yield 2


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        # The first way, the second way whole, the second way in part, nobody.
        (Role.USER, {"sync": 1, "waiting": 2, "open": 3}),
        (Role.READONLY, {"sync": 1, "waiting": 2, "open": 3}),
        (None, None),
    ],
)
async def test_one_way_of_several_is_enough_if_it_is_whole(
    who: Role | None, expected: Any, services: Services, people: dict[Role, User]
) -> None:
    context = context_of(services, None if who is None else people[who])
    answer = await build(Every, None, Stream).execute("{ sync waiting open }", context_value=context)

    assert expected == answer.data


async def test_a_guarded_stream_gives_what_its_function_yields(services: Services, people: dict[Role, User]) -> None:
    stream: Any = await build(Every, None, Stream).stream(
        "subscription { counted }", context_value=context_of(services, people[Role.USER])
    )

    assert [{"counted": 1}, {"counted": 2}] == [answer.data async for answer in stream]


def test_the_sdl_shows_the_ways() -> None:
    sdl = build(Every, None, Stream).as_str()

    assert "sync: Int! @requires(permissions: [[JOB_CANCEL], [JOB_READ, LOG_READ]])" in sdl
    assert "open: Int! @public" in sdl
