"""Who may use what: all root fields against all roles, and what happens to a field that does not say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import cache
from typing import Any

import pytest
import sqlalchemy as sa
import strawberry
from graphql import OperationType

from db.models.identity import Role
from db.users import User
from guards.permissions import Permission, granted
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import Action
from resolvers.context import Services
from schema import access
from schema.access import Guarded, UnguardedField
from schema.build import build
from schema.directives import Public, Requires
from schema.fields import Info, described, fields_of, public, requires
from schema.mutation import Mutation
from schema.plan import Plan, admit
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
AUDITORS: Who = frozenset({Role.ADMIN, Role.OPERATOR, Role.SUPERVISOR})
AN_ID = "00000000-0000-7000-8000-000000000000"

READS: dict[str, tuple[str, Who]] = {
    "me": ("{ me { id } }", SIGNED_IN),
    "snapshot": ("{ snapshot { status } }", INSIDERS),
    "snapshotState": ("{ snapshotState { version } }", INSIDERS),
    "job": (f'{{ job(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "jobs": ("{ jobs { totalCount } }", SIGNED_IN),
    "jobStatistics": ("{ jobStatistics { total } }", SIGNED_IN),
    "clip": (f'{{ clip(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "clips": ("{ clips { totalCount } }", SIGNED_IN),
    "agent": ('{ agent(id: "clipper") { id } }', SIGNED_IN),
    "agents": ("{ agents { totalCount } }", SIGNED_IN),
    "agentRoster": ("{ agentRoster { total } }", SIGNED_IN),
    "agentConfigurations": ("{ agentConfigurations { id } }", INSIDERS),
    "agentLogs": ('{ agentLogs(id: "clipper") { totalCount } }', INSIDERS),
    "queue": ("{ queue { queued } }", SIGNED_IN),
    "upload": (f'{{ upload(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "uploads": ("{ uploads { totalCount } }", SIGNED_IN),
    "logs": ("{ logs { totalCount } }", INSIDERS),
    "events": ("{ events { totalCount } }", INSIDERS),
    "workers": ("{ workers { totalCount } }", INSIDERS),
    "configuration": ("{ configuration { version } }", INSIDERS),
    "managers": ("{ managers { id } }", INSIDERS),
    "auditLog": ("{ auditLog { totalCount } }", AUDITORS),
    "actionCatalogue": ("{ actionCatalogue { name } }", SIGNED_IN),
    "rateLimit": ("{ rateLimit { remaining } }", SIGNED_IN),
    "explainOperation": ('{ explainOperation(document: "{ me { id } }") { allowed } }', SIGNED_IN),
    "operation": (f'{{ operation(id: "{AN_ID}") {{ id }} }}', SIGNED_IN),
    "operations": ("{ operations { totalCount } }", SIGNED_IN),
    "breakers": ("{ breakers { state } }", INSIDERS),
    "endpoints": ("{ endpoints { path } }", INSIDERS),
    "analytics": ("{ analytics { since } }", SIGNED_IN),
    "health": ("{ health { status } }", EVERYBODY),
    "node": ('{ node(id: "clipper") { id } }', SIGNED_IN),
}
SESSIONS: dict[str, tuple[str, Who]] = {
    "login": ('login(input: {email: "a@b.c", password: "wrong"}) { user { id } }', EVERYBODY),
    "refresh": ('refresh(input: {refreshToken: "wrong"}) { user { id } }', EVERYBODY),
    "logout": ("logout { userId }", SIGNED_IN),
}
CHOOSING = {"adminAction", "actionByName"}
WATCHES: dict[str, tuple[str, Who]] = {
    "jobChanged": ("subscription { jobChanged { __typename } }", SIGNED_IN),
    "operationChanged": ("subscription { operationChanged { __typename } }", SIGNED_IN),
    "queueChanged": ("subscription { queueChanged { __typename } }", SIGNED_IN),
    "snapshotChanged": ("subscription { snapshotChanged { __typename } }", INSIDERS),
    "agentChanged": ("subscription { agentChanged { __typename } }", SIGNED_IN),
    "workerChanged": ("subscription { workerChanged { __typename } }", INSIDERS),
    "events": ("subscription { events { __typename } }", INSIDERS),
    "logAppended": ("subscription { logAppended { __typename } }", INSIDERS),
    "securityAlert": ("subscription { securityAlert { __typename } }", INSIDERS),
    "actionExecuted": ("subscription { actionExecuted { __typename } }", AUDITORS),
}
RECORD = "SELECT action, outcome FROM audit ORDER BY seq"
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
    acting = {action.field for action in CATALOGUE.values()}
    assert {*SESSIONS, *CHOOSING, *acting} == roots[OperationType.MUTATION]
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
async def test_sessions_are_for_just_those_who_may(who: Role | None, ask: Ask, people: dict[Role, User]) -> None:
    caller = somebody(who, people)
    for name, (document, allowed) in SESSIONS.items():
        answer = await ask(caller, f"mutation {{ {document} }}")

        told = (answer.errors or [])[0].message if answer.errors else ""
        assert (who not in allowed) is told.startswith("sign in first"), name


def document_of(action: Action[Any, Any], way: str) -> str:
    """An action, asked for in one of the ways that there are; what it is given is left to the variables."""
    field = schema._schema.mutation_type.fields[action.field] if schema._schema.mutation_type else None
    kind = None if field is None or "input" not in field.args else str(field.args["input"].type)
    given = "(input: $given)" if kind else ""
    variables = f"($given: {kind})" if kind else ""
    if way == "input":
        inner = f"{{{action.field}: {'$given' if kind else '{}'}}}"
        variables = f"($given: {kind.rstrip('!')}!)" if kind else ""
        return f"mutation {variables} {{ it: adminAction(input: {inner}) {{ action }} }}"
    if way == "name":
        return f'mutation {{ it: actionByName(name: "{action.name}") {{ action }} }}'
    return f"mutation {variables} {{ it: {action.field}{given} {{ __typename }} }}"


@cache
def plan_of(document: str) -> Plan:
    """The plan of a document, made once for all roles."""
    return schema.plan(document)


# A way with all roles, then the next: as many documents as are asked for in between are known to be valid.
@pytest.mark.parametrize("who", [None, *Role])
@pytest.mark.parametrize("way", ["field", "input", "name"])
async def test_an_action_is_let_pass_for_just_those_who_may(
    who: Role | None, way: str, people: dict[Role, User], services: Services
) -> None:
    """Whoever is refused is refused before what they sent is looked at, and changes nothing."""
    before = await _fingerprint(services)
    let_pass = set()
    for action in CATALOGUE.values():
        # Everything is forgotten each time, for how often one may is not what is asked here.
        await services.redis.flushdb()
        context, document = context_of(services, somebody(who, people)), document_of(action, way)
        if who is not None and action.permission in granted(who):
            await admit(plan_of(document), context, {})
            assert [None] == list((context.admitted or {}).values()), action.name
            let_pass.add(action.name)
            continue

        answer = await schema.execute(document, context_value=context)

        assert ("UNAUTHENTICATED" if who is None else "FORBIDDEN") == code(answer.errors), action.name
        assert None is answer.data, action.name
        assert None is context.admitted, action.name

    assert before == await _fingerprint(services)
    assert who is not Role.ADMIN or set(CATALOGUE) == let_pass


async def test_a_refused_action_is_on_record_once(services: Services, people: dict[Role, User]) -> None:
    document = "mutation { a: queuePause { paused } b: adminAction(input: {queueResume: {}}) { action } }"
    await schema.execute(document, context_value=context_of(services, people[Role.READONLY]))
    await schema.execute(document, context_value=context_of(services, None))

    assert [("queue.pause", "denied"), ("queue.resume", "denied")] == await on_record(services)


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


async def on_record(services: Services) -> list[tuple[str, str]]:
    """What was asked for and how it ended, in the order in which it was put on record."""
    async with services.database.system() as tx:
        return [(action, outcome) for action, outcome in await tx.rows(sa.text(RECORD))]


async def _fingerprint(services: Services) -> list[Any]:
    """What actions could change, counted and dated."""
    async with services.database.system() as tx:
        return list(
            await tx.rows(
                sa.text(
                    "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM uploads), (SELECT count(*) FROM events"
                    " WHERE kind NOT IN ('security_alerted', 'action_executed')),"
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

    inside = {
        "snapshot",
        "snapshotState",
        "agentConfigurations",
        "agentLogs",
        "logs",
        "events",
        "workers",
        "configuration",
        "managers",
        "auditLog",
        "breakers",
        "endpoints",
    }
    assert inside == {name for name, told in answers.items() if told}
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


def test_a_mutation_that_does_not_say_what_is_kept_of_it_is_not_built() -> None:
    @described
    class Mutation:
        """A root that changes something."""

        @requires(Permission.ME_READ)
        def changed(self) -> str:
            """Something."""
            return "changed"

    with pytest.raises(UnguardedField, match=r"Mutation\.changed must also say: Idempotent, Audited"):
        access.check([Mutation])


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
