"""Refresh tokens as stored: one exchange of a family at a time, and a family that ends ends whole."""

import asyncio
import hashlib
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from db import refresh_tokens
from db.database import Database
from db.models.identity import Role
from db.refresh_tokens import RefreshToken
from tests.conftest import People
from tests.waiting import eventually


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


async def added(database: Database, user: UUID, family: UUID, *names: str) -> None:
    async with database.transaction("default") as tx:
        for name in names:
            await refresh_tokens.add(
                tx,
                tenant="default",
                user_id=user,
                family=family,
                digest=digest(name),
                expires_at=await refresh_tokens.now(tx) + timedelta(days=1),
            )


async def found(database: Database, name: str) -> RefreshToken:
    async with database.system() as tx:
        token = await refresh_tokens.locked(tx, digest(name))
    assert token is not None
    return token


async def waiting(database: Database) -> int:
    """How many transactions wait for a lock."""
    async with database.system() as tx:
        counted: int = await tx.scalar(
            sa.text(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
        return counted


async def test_a_token_is_found_by_its_digest_alone(database: Database, people: People) -> None:
    family = uuid4()
    await added(database, people[Role.USER].id, family, "one")

    token = await found(database, "one")

    assert (family, people[Role.USER].id, None, None) == (
        token.family,
        token.user_id,
        token.rotated_at,
        token.revoked_at,
    )
    async with database.system() as tx:
        assert await refresh_tokens.locked(tx, digest("another")) is None
        assert await refresh_tokens.locked(tx, b"") is None


async def test_another_tenant_does_not_find_it(database: Database, people: People) -> None:
    await added(database, people[Role.USER].id, uuid4(), "one")

    async with database.transaction("other") as tx:
        assert await refresh_tokens.locked(tx, digest("one")) is None


async def test_exchanges_of_one_family_wait_for_each_other(roomy: Database, people: People) -> None:
    family = uuid4()
    await added(roomy, people[Role.USER].id, family, "one")

    async def seen() -> bytes | None:
        return (await found(roomy, "one")).sealed_successor

    async with roomy.system() as tx:
        first = await refresh_tokens.locked(tx, digest("one"))
        assert first is not None
        second = asyncio.create_task(seen())
        await eventually(lambda: waiting(roomy), lambda count: count == 1)
        await refresh_tokens.mark_rotated(tx, first.id, sealed_successor=b"sealed")

    assert b"sealed" == await asyncio.wait_for(second, 60)


async def test_a_family_ends_with_the_successor_that_was_just_being_made(roomy: Database, people: People) -> None:
    """Control: with the row alone locked, the successor commits unseen by whoever revokes the family, and lives on."""
    user, family = people[Role.USER].id, uuid4()
    await added(roomy, user, family, "parent", "child")

    async def ended() -> None:
        async with roomy.system() as tx:
            assert await refresh_tokens.locked(tx, digest("parent")) is not None
            await refresh_tokens.revoke_family(tx, family)

    async with roomy.system() as tx:
        child = await refresh_tokens.locked(tx, digest("child"))
        assert child is not None
        ending = asyncio.create_task(ended())
        await eventually(lambda: waiting(roomy), lambda count: count == 1)
        await refresh_tokens.mark_rotated(tx, child.id, sealed_successor=b"sealed")
        await refresh_tokens.add(
            tx,
            tenant="default",
            user_id=user,
            family=family,
            digest=digest("grandchild"),
            expires_at=child.expires_at,
        )
    await asyncio.wait_for(ending, 60)

    for name in ("parent", "child", "grandchild"):
        assert (await found(roomy, name)).revoked_at is not None


async def test_families_do_not_wait_for_each_other(database: Database, people: People) -> None:
    await added(database, people[Role.USER].id, uuid4(), "one")
    await added(database, people[Role.USER].id, uuid4(), "two")

    async with database.system() as tx:
        await refresh_tokens.locked(tx, digest("one"))
        two = await asyncio.wait_for(found(database, "two"), 60)
        await refresh_tokens.revoke_family(tx, (await found(database, "two")).family)

    assert two.revoked_at is None
    assert (await found(database, "one")).revoked_at is None


async def test_a_token_whose_successor_was_exchanged_is_a_grandparent(database: Database, people: People) -> None:
    await added(database, people[Role.USER].id, uuid4(), "parent", "child")
    async with database.system() as tx:
        await refresh_tokens.mark_rotated(tx, (await found(database, "parent")).id, sealed_successor=b"1")
    async with database.system() as tx:
        before = await refresh_tokens.successor_rotated(tx, await found(database, "parent"))
        await refresh_tokens.mark_rotated(tx, (await found(database, "child")).id, sealed_successor=b"2")
    async with database.system() as tx:
        after = await refresh_tokens.successor_rotated(tx, await found(database, "parent"))

    assert (False, True) == (before, after)


async def test_a_family_that_has_ended_keeps_the_moment_it_ended(database: Database, people: People) -> None:
    await added(database, people[Role.USER].id, family := uuid4(), "one")
    async with database.system() as tx:
        await refresh_tokens.revoke_family(tx, family)
    ended = (await found(database, "one")).revoked_at
    async with database.system() as tx:
        await refresh_tokens.revoke_family(tx, family)

    assert ended == (await found(database, "one")).revoked_at


async def test_no_two_tokens_share_a_digest_and_a_digest_is_whole(database: Database, people: People) -> None:
    await added(database, people[Role.USER].id, uuid4(), "one")

    with pytest.raises(sa.exc.IntegrityError, match="refresh_tokens_digest_key"):
        await added(database, people[Role.USER].id, uuid4(), "one")
    with pytest.raises(sa.exc.IntegrityError, match="refresh_tokens_digest_check"):
        async with database.transaction("default") as tx:
            await refresh_tokens.add(
                tx,
                tenant="default",
                user_id=people[Role.USER].id,
                family=uuid4(),
                digest=b"short",
                expires_at=await refresh_tokens.now(tx),
            )
