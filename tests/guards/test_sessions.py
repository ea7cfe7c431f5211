"""Signing in and staying signed in: who gets a session, and what ends one."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import sqlalchemy as sa

from db import events, refresh_tokens, users
from db.database import Database
from db.events import START, Kind
from db.models.identity import Role
from db.users import User
from guards.audit import Audit
from guards.callers import Caller, Origin
from guards.errors import Unauthenticated
from guards.passwords import hashed
from guards.sessions import FAMILY_LIFE, PARENT_GRACE, Session, Sessions
from guards.tokens import KeyRing, Tokens, new_key
from tests.trails import seals
from tests.waiting import eventually

PASSWORD = "correct horse battery staple"
EMAIL = "ada@default.test"
HERE = Origin(address="127.0.0.1")
TOKENS = Tokens(KeyRing([new_key(), new_key()]), issuer="https://agentos.test")
GARBAGE = ("", "x", "A" * 43, "not base64 at all!", "é" * 43, "\ud800", "\0", "A" * 100_000, "a.b.c")
LATE = PARENT_GRACE + timedelta(seconds=1)


@pytest.fixture(scope="module")
def password_hash() -> str:
    """The hash of `PASSWORD`, made once, because one costs a tenth of a second of every core."""
    return asyncio.run(hashed(PASSWORD))


@pytest.fixture
def sessions(database: Database) -> Sessions:
    """Sessions over the test's own database."""
    return Sessions(database, TOKENS, Audit(database, seals()))


@pytest_asyncio.fixture
async def ada(database: Database, password_hash: str) -> User:
    """Somebody with a password."""
    async with database.transaction("default") as tx:
        made = await users.add(
            tx, tenant="default", email=EMAIL, name="Ada", role=Role.OPERATOR, password_hash=password_hash
        )
    assert made is not None
    return made


@pytest_asyncio.fixture
async def session(sessions: Sessions, ada: User) -> Session:
    """Ada, signed in."""
    return await sessions.opened(tenant="default", email=EMAIL, password=PASSWORD, origin=HERE)


async def execute(database: Database, statement: str, **parameters: Any) -> None:
    async with database.system() as tx:
        await tx.execute(sa.text(statement), parameters)


async def age(database: Database, span: timedelta) -> None:
    """Let time pass for every refresh token there is."""
    await execute(
        database,
        "UPDATE refresh_tokens SET rotated_at = rotated_at - CAST(:span AS interval), "
        "created_at = created_at - CAST(:span AS interval), expires_at = expires_at - CAST(:span AS interval)",
        span=span,
    )


async def stored(database: Database) -> list[Any]:
    """Every refresh token, the oldest first."""
    async with database.system() as tx:
        return list(await refresh_tokens.SHAPE.all(tx, refresh_tokens.SHAPE.select().order_by(sa.text("id"))))


async def version_of(database: Database, user: User) -> int | None:
    async with database.system() as tx:
        return await users.token_version(tx, user.id)


async def alerts(database: Database) -> list[tuple[str, UUID | None, str, dict[str, Any]]]:
    async with database.system() as tx:
        told = [event for event in await events.after(tx, START) if event.kind is Kind.SECURITY_ALERTED]
        kept = await tx.rows(sa.text("SELECT kind FROM system_events ORDER BY created_at"))
    assert [(event.payload["reason"],) for event in told] == kept
    return [(event.tenant_id, event.owner_id, event.entity_id, event.payload) for event in told]


async def refused(sessions: Sessions, token: str) -> None:
    with pytest.raises(Unauthenticated, match="sign in again"):
        await sessions.renewed(token, HERE)


async def test_the_right_password_opens_a_session(sessions: Sessions, ada: User, database: Database) -> None:
    session = await sessions.opened(tenant="default", email=EMAIL.upper(), password=PASSWORD, origin=HERE)

    caller = TOKENS.verified(session.access_token)
    assert (ada.id, "default", Role.OPERATOR, ada.token_version) == (
        caller.user_id,
        caller.tenant,
        caller.role,
        caller.token_version,
    )
    assert (ada.id, Role.OPERATOR, 900) == (session.user_id, session.role, session.expires_in)
    async with database.system() as tx:
        seen = await users.by_id(tx, ada.id)
    assert seen is not None
    assert seen.last_login_at is not None


async def test_whoever_is_not_let_in_is_not_told_why(
    sessions: Sessions, database: Database, ada: User, password_hash: str
) -> None:
    async with database.transaction("default") as tx:
        for name, secret in (("disabled", password_hash), ("nopassword", None)):
            made = await users.add(
                tx, tenant="default", email=f"{name}@default.test", name="", role=Role.ADMIN, password_hash=secret
            )
            assert made is not None
            if name == "disabled":
                await users.mark_disabled(tx, made.id)

    for what, tenant, email, password in (
        ("wrong", "default", EMAIL, PASSWORD + "!"),
        ("empty", "default", EMAIL, ""),
        ("unknown", "default", "nobody@default.test", PASSWORD),
        ("disabled", "default", "disabled@default.test", PASSWORD),
        ("none set", "default", "nopassword@default.test", PASSWORD),
        ("of another tenant", "other", EMAIL, PASSWORD),
        ("of no tenant", "no-such-tenant", EMAIL, PASSWORD),
        ("with a zero character", "default", EMAIL + "\0", PASSWORD),
        ("with half a surrogate pair", "default\ud800", EMAIL, PASSWORD),
        ("nothing at all", "", "", ""),
    ):
        with pytest.raises(Unauthenticated) as answer:
            await sessions.opened(tenant=tenant, email=email, password=password, origin=HERE)
        assert "email or password is wrong" == str(answer.value), what

    assert [] == await stored(database)


async def test_refreshing_gives_new_tokens_and_the_family_goes_on(sessions: Sessions, session: Session) -> None:
    second = await sessions.renewed(session.refresh_token, HERE)
    third = await sessions.renewed(second.refresh_token, HERE)

    assert 3 == len({session.refresh_token, second.refresh_token, third.refresh_token})
    assert 3 == len({session.access_token, second.access_token, third.access_token})
    assert session.user_id == TOKENS.verified(third.access_token).user_id


async def test_a_refresh_token_has_256_bits(session: Session) -> None:
    assert 32 == len(base64.urlsafe_b64decode(session.refresh_token + "="))


async def test_twenty_refreshes_at_once_give_one_successor(
    roomy: Database, session: Session, database: Database
) -> None:
    """Tabs that wake up together must neither sign the user out nor start twenty families' worth of tokens."""
    sessions = Sessions(roomy, TOKENS, Audit(roomy, seals()))

    renewed = await asyncio.gather(*(sessions.renewed(session.refresh_token, HERE) for _ in range(20)))

    assert 1 == len({one.refresh_token for one in renewed})
    assert 2 == len(await stored(database))
    assert [] == await alerts(database)
    assert await sessions.renewed(renewed[0].refresh_token, HERE)


async def test_a_lost_answer_can_be_asked_for_again_for_ten_seconds(
    sessions: Sessions, session: Session, database: Database
) -> None:
    first = await sessions.renewed(session.refresh_token, HERE)
    await age(database, PARENT_GRACE - timedelta(seconds=5))

    again = await sessions.renewed(session.refresh_token, HERE)

    assert first.refresh_token == again.refresh_token
    assert [] == await alerts(database)


async def test_a_replay_after_eleven_seconds_ends_the_family_and_every_access_token(
    sessions: Sessions, session: Session, database: Database, ada: User
) -> None:
    successor = await sessions.renewed(session.refresh_token, HERE)
    before = await version_of(database, ada)
    await age(database, LATE)

    await refused(sessions, session.refresh_token)

    await refused(sessions, successor.refresh_token)
    assert all(token.revoked_at is not None for token in await stored(database))
    assert before == ada.token_version
    assert before + 1 == await version_of(database, ada)
    assert [("default", ada.id, str(ada.id), {"reason": "refresh_token_reused"})] == await alerts(database)


async def test_a_grandparent_ends_the_family_even_within_the_grace(
    sessions: Sessions, session: Session, database: Database
) -> None:
    """Only the immediate parent can be a lost answer: whoever holds its child cannot also have lost that."""
    second = await sessions.renewed(session.refresh_token, HERE)
    third = await sessions.renewed(second.refresh_token, HERE)

    await refused(sessions, session.refresh_token)

    for dead in (second, third):
        await refused(sessions, dead.refresh_token)
    assert 1 == len(await alerts(database)), "tokens of a family that is dead already raise no further alarm"


async def test_another_sign_in_of_the_same_user_outlives_a_family_that_ends(
    sessions: Sessions, session: Session, database: Database
) -> None:
    elsewhere = await sessions.opened(tenant="default", email=EMAIL, password=PASSWORD, origin=HERE)
    await sessions.renewed(session.refresh_token, HERE)
    await age(database, LATE)
    await refused(sessions, session.refresh_token)

    renewed = await sessions.renewed(elsewhere.refresh_token, HERE)

    assert 2 == TOKENS.verified(renewed.access_token).token_version


async def test_replays_at_once_end_the_family_once(sessions: Sessions, session: Session, database: Database) -> None:
    await sessions.renewed(session.refresh_token, HERE)
    await age(database, LATE)

    answers = await asyncio.gather(
        *(sessions.renewed(session.refresh_token, HERE) for _ in range(10)), return_exceptions=True
    )

    assert [Unauthenticated] * 10 == [type(answer) for answer in answers]
    assert 1 == len(await alerts(database))


async def test_garbage_is_refused_and_ends_nobodys_session(
    sessions: Sessions, session: Session, database: Database
) -> None:
    for garbage in (*GARBAGE, session.access_token):
        await refused(sessions, garbage)

    assert [] == await alerts(database)
    assert await sessions.renewed(session.refresh_token, HERE)


async def test_refreshing_never_lengthens_a_session(sessions: Sessions, session: Session, database: Database) -> None:
    await age(database, FAMILY_LIFE - timedelta(minutes=1))
    last = await sessions.renewed(session.refresh_token, HERE)
    [first, second] = await stored(database)
    await age(database, timedelta(minutes=2))

    await refused(sessions, last.refresh_token)

    assert first.expires_at == second.expires_at
    assert [] == await alerts(database), "a session that has run out is no theft"


async def test_a_disabled_user_stays_signed_in_nowhere(
    sessions: Sessions, session: Session, database: Database, ada: User
) -> None:
    async with database.transaction("default") as tx:
        await users.mark_disabled(tx, ada.id)

    await refused(sessions, session.refresh_token)

    assert await version_of(database, ada) is None


async def test_who_is_let_in_again_signs_in_anew(
    sessions: Sessions, session: Session, database: Database, ada: User
) -> None:
    """However they are let in: what they held when they were locked out is good for nothing."""
    async with database.transaction("default") as tx:
        await users.mark_disabled(tx, ada.id)
    await execute(database, "UPDATE users SET disabled_at = NULL")

    await refused(sessions, session.refresh_token)

    assert [] == await alerts(database)


async def test_a_token_that_is_being_exchanged_while_its_user_is_locked_out_ends_as_well(
    session: Session, database: Database, roomy: Database, ada: User
) -> None:
    async def lock_out() -> None:
        async with roomy.transaction("default") as tx:
            await users.mark_disabled(tx, ada.id)

    raw = base64.urlsafe_b64decode(session.refresh_token + "=")
    async with database.system() as tx:
        token = await refresh_tokens.locked(tx, hashlib.sha256(raw).digest())
        assert token is not None
        locking = asyncio.create_task(lock_out())
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        await eventually(lambda: tx.scalar(waiting), bool)
        await refresh_tokens.add(
            tx,
            tenant="default",
            user_id=ada.id,
            family=token.family,
            digest=b"s" * 32,
            expires_at=token.expires_at,
        )
    await locking

    assert [True, True] == [each.revoked_at is not None for each in await stored(database)]


async def test_a_refreshed_token_has_the_role_the_user_has_now(
    sessions: Sessions, session: Session, database: Database
) -> None:
    await execute(database, "UPDATE users SET role = 'readonly'")

    renewed = await sessions.renewed(session.refresh_token, HERE)

    assert (Role.READONLY, Role.READONLY) == (renewed.role, TOKENS.verified(renewed.access_token).role)


async def test_signing_out_ends_the_session_and_every_access_token(
    sessions: Sessions, session: Session, database: Database, ada: User
) -> None:
    await sessions.closed(TOKENS.verified(session.access_token), session.refresh_token, HERE)

    await refused(sessions, session.refresh_token)
    assert ada.token_version + 1 == await version_of(database, ada)
    async with database.system() as tx:
        told = [(event.kind, event.payload) for event in await events.after(tx, START)]
    assert [(Kind.USER_CHANGED, {"reason": "signed_out"})] == told


async def test_signing_out_with_garbage_still_signs_out(
    sessions: Sessions, session: Session, database: Database, ada: User
) -> None:
    for garbage in GARBAGE:
        await sessions.closed(TOKENS.verified(session.access_token), garbage, HERE)

    assert ada.token_version + len(GARBAGE) == await version_of(database, ada)


async def test_nobody_signs_somebody_else_out(
    sessions: Sessions,
    session: Session,
    people: dict[Role, User],
    other_people: dict[Role, User],
    caller_of: Callable[[User], Caller],
    database: Database,
    ada: User,
) -> None:
    """A refresh token that was found somewhere ends no session of another user, in this tenant or the next."""
    for stranger in (people[Role.ADMIN], other_people[Role.ADMIN]):
        await sessions.closed(caller_of(stranger), session.refresh_token, HERE)

    assert ada.token_version == await version_of(database, ada)
    assert await sessions.renewed(session.refresh_token, HERE)


async def test_a_stolen_table_gives_no_token_away(sessions: Sessions, session: Session, database: Database) -> None:
    """Whoever reads the table holds digests, and successors sealed with what only the client has."""
    second = await sessions.renewed(session.refresh_token, HERE)
    async with database.system() as tx:
        rows = await tx.rows(sa.text("SELECT digest, sealed_successor FROM refresh_tokens ORDER BY id"))
    raws = [base64.urlsafe_b64decode(one.refresh_token + "=") for one in (session, second)]
    columns = [bytes(column) for row in rows for column in row if column is not None]

    assert [hashlib.sha256(raw).digest() for raw in raws] == [bytes(row[0]) for row in rows]
    assert 3 == len(columns)
    assert all(raw not in column for raw in raws for column in columns)
    for column in columns:
        for guess in (column, column[:32], column[12:44]):
            await refused(sessions, base64.urlsafe_b64encode(guess).decode())


async def test_what_becomes_of_a_session_is_on_record(
    sessions: Sessions, session: Session, ada: User, database: Database
) -> None:
    """A guess is, too, where it is about somebody; what is about nobody is only counted."""
    second = await sessions.renewed(session.refresh_token, HERE)
    await age(database, LATE)
    for guess in (
        sessions.renewed(session.refresh_token, HERE),
        sessions.renewed("nobody's", HERE),
        sessions.opened(tenant="default", email=EMAIL, password="wrong", origin=HERE),
        sessions.opened(tenant="default", email="no@body.test", password="wrong", origin=HERE),
    ):
        with pytest.raises(Unauthenticated):
            await guess
    await sessions.closed(TOKENS.verified(second.access_token), None, HERE)

    async with database.system() as tx:
        entries = await tx.rows(sa.text("SELECT action, outcome, code, target FROM audit ORDER BY seq"))
    assert [
        ("session.open", "done", None, str(ada.id)),
        ("session.renew", "done", None, str(ada.id)),
        ("session.renew", "denied", "UNAUTHENTICATED", str(ada.id)),
        ("session.open", "denied", "UNAUTHENTICATED", str(ada.id)),
        ("session.close", "done", None, str(ada.id)),
    ] == [tuple(entry) for entry in entries]
