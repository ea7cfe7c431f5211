"""Users and tenants: who is found, made, locked out, and by which tenant."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from db import queues, users
from db.database import Database
from db.models.identity import Role
from db.queues import QueueState
from db.users import User
from tests.conftest import People
from tests.waiting import eventually


async def decided(database: Database, tenant: str) -> QueueState | None:
    async with database.transaction(tenant) as tx:
        return await queues.state(tx)


async def added(database: Database, email: str, tenant: str = "default", name: str = "") -> User | None:
    async with database.transaction(tenant) as tx:
        return await users.add(tx, tenant=tenant, email=email, name=name, role=Role.USER, password_hash="h")


async def test_a_user_is_found_by_id_and_by_email_however_it_is_written(database: Database) -> None:
    ada = await added(database, "Ada@Example.Test")
    assert ada is not None

    async with database.transaction("default") as tx:
        assert "ada@example.test" == ada.email
        assert ada == await users.by_id(tx, ada.id)
        assert ada == await users.by_email(tx, "ADA@EXAMPLE.TEST")
        assert [ada] == await users.by_ids(tx, [ada.id, uuid4()])
        assert await users.by_id(tx, uuid4()) is None
        assert await users.by_email(tx, "ada") is None


async def test_an_address_is_one_user_s_in_a_tenant_and_may_be_another_s_in_the_next(database: Database) -> None:
    first = await added(database, "ada@example.test")
    again = await added(database, "ADA@example.test")
    elsewhere = await added(database, "ada@example.test", tenant="other")

    assert first is not None
    assert elsewhere is not None
    assert again is None
    assert first.id != elsewhere.id
    async with database.system() as tx:
        for user in (first, elsewhere):
            found = await users.credentials(tx, user.tenant_id, "Ada@Example.test")
            assert found is not None
            assert (user.id, user.tenant_id, "h") == (found.id, found.tenant_id, found.password_hash)
        assert await users.credentials(tx, "nowhere", "ada@example.test") is None


async def test_what_is_no_address_or_too_long_a_name_is_refused(database: Database) -> None:
    for email, name in (("a", ""), ("a" * 255, ""), ("ada@example.test", "n" * 201)):
        with pytest.raises(sa.exc.IntegrityError, match="violates check constraint"):
            await added(database, email, name=name)


async def test_a_row_that_is_read_has_no_password_hash(database: Database) -> None:
    assert "password_hash" not in User.__struct_fields__


async def test_locking_out_counts_once_and_voids_the_tokens(database: Database, people: People) -> None:
    user = people[Role.USER]
    async with database.transaction("default") as tx:
        before = await users.token_version(tx, user.id)
        done = [await users.mark_disabled(tx, user.id), await users.mark_disabled(tx, user.id)]
        after = await users.token_version(tx, user.id)
        row = await users.by_id(tx, user.id)
        missing = await users.mark_disabled(tx, uuid4())

    assert ([True, False], False) == (done, missing)
    assert (user.token_version, None) == (before, after)
    assert row is not None
    assert (user.token_version + 1, True) == (row.token_version, row.disabled_at is not None)


async def test_revoking_raises_the_version_of_one_user_alone(database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        await users.revoke_tokens(tx, people[Role.USER].id)
        versions = {role: await users.token_version(tx, user.id) for role, user in people.items()}

    assert {role: 2 if role is Role.USER else 1 for role in Role} == versions


async def test_signing_in_is_noted(database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        await users.mark_signed_in(tx, people[Role.USER].id)
        seen = {user.role for user in await users.everybody(tx) if user.last_login_at is not None}

    assert {Role.USER} == seen


async def test_nobody_of_another_tenant_is_changed(database: Database, other_people: People) -> None:
    theirs = other_people[Role.ADMIN]
    async with database.transaction("default") as tx:
        await users.revoke_tokens(tx, theirs.id)
        await users.mark_signed_in(tx, theirs.id)
        assert not await users.mark_disabled(tx, theirs.id)

    async with database.transaction("other") as tx:
        assert theirs == await users.by_id(tx, theirs.id)


async def test_a_tenant_is_made_once_and_by_the_system_alone(database: Database) -> None:
    async with database.system() as tx:
        assert [True, False] == [await users.ensure_tenant(tx, "acme"), await users.ensure_tenant(tx, "acme")]
        assert ["acme", "default", "other"] == await users.tenant_ids(tx)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with database.transaction("default") as tx:
            await users.ensure_tenant(tx, "mine")
    with pytest.raises(sa.exc.IntegrityError, match="tenants_id_check"):
        async with database.system() as tx:
            await users.ensure_tenant(tx, "Not A Name")


async def test_a_tenant_made_during_an_emergency_stop_is_stopped_until_it_is_lifted(
    database: Database, people: People
) -> None:
    by = people[Role.ADMIN].id
    async with database.system() as tx:
        await users.ensure_tenant(tx, "before")
        await queues.stop_all(tx, reason="smoke", by=by)
    async with database.system() as tx:
        await users.ensure_tenant(tx, "during")
    stopped = await decided(database, "during")
    async with database.system() as tx:
        assert 4 == await queues.resume_stopped(tx, by=by)
        await users.ensure_tenant(tx, "after")

    assert stopped is not None
    assert (True, True, True, "smoke", by) == (
        stopped.paused,
        stopped.refusing,
        stopped.stopped,
        stopped.reason,
        stopped.changed_by,
    )
    assert [None, None] == [await decided(database, name) for name in ("never", "after")]


async def test_a_pause_of_the_house_is_nothing_to_a_new_tenant(database: Database) -> None:
    async with database.transaction("default") as tx:
        await queues.mark_paused(tx, reason="lunch")
    async with database.system() as tx:
        await users.ensure_tenant(tx, "acme")

    assert await decided(database, "acme") is None


async def test_a_tenant_that_is_being_made_is_not_missed_by_whoever_stops_all(roomy: Database) -> None:
    async def stop() -> None:
        async with roomy.system() as tx:
            await queues.stop_all(tx, reason="smoke", by=None)

    async with roomy.system() as tx:
        await users.ensure_tenant(tx, "acme")
        stopping = asyncio.create_task(stop())
        waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        await eventually(lambda: tx.scalar(waiting), bool)
    await stopping

    stopped = await decided(roomy, "acme")
    assert stopped is not None
    assert stopped.stopped


async def test_an_empty_database_has_nobody(database: Database) -> None:
    async with database.system() as tx:
        before = await users.anybody(tx)
    await added(database, "first@example.test")
    async with database.system() as tx:
        after = await users.anybody(tx)

    assert (False, True) == (before, after)


async def test_who_signed_in_since_is_counted(database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        await users.mark_signed_in(tx, people[Role.ADMIN].id)

    now = datetime.now(UTC)
    async with database.transaction("default") as tx:
        lately = await users.signed_in_since(tx, now - timedelta(hours=1))
        later = await users.signed_in_since(tx, now + timedelta(hours=1))

    assert (1, 0) == (lately, later)
