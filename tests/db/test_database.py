"""The walls: whose rows a transaction sees, and what it leaves behind on its connection."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from db import users
from db.database import Database, DatabaseBusy, DatabaseUnavailable, Transaction, driver_url
from db.migrations import runner
from db.models import metadata
from db.models.identity import Role
from tests.conftest import People
from tests.urls import driver_url as plain

TENANT_TABLES = [table.name for table in metadata.sorted_tables if "tenant_id" in table.c]


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_every_table_with_a_tenant_is_behind_a_forced_wall(database: Database, table: str) -> None:
    async with database.system() as tx:
        forced = await tx.scalar(
            sa.text("SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = :t"), {"t": table}
        )
        rows = await tx.rows(
            sa.text("SELECT roles::text, qual, with_check FROM pg_policies WHERE tablename = :t"), {"t": table}
        )

    assert forced is True
    assert {"{agentos_app}", "{agentos_system}"} == {roles for roles, _, _ in rows}
    assert all(qual is not None and check is not None for _, qual, check in rows)


async def test_the_roles_that_act_own_nothing_and_bypass_nothing(database: Database) -> None:
    async with database.system() as tx:
        rows = await tx.rows(
            sa.text("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname LIKE 'agentos\\_%'")
        )
        owned = await tx.scalar(
            sa.text("SELECT count(*) FROM pg_tables WHERE tableowner IN ('agentos_app', 'agentos_system')")
        )

    roles = ("agentos_app", "agentos_audit", "agentos_system")
    assert {(role, False, False) for role in roles} == set(rows)
    assert 0 == owned


async def test_a_transaction_sees_the_rows_of_its_tenant_alone(
    database: Database, people: People, other_people: People
) -> None:
    async with database.transaction("default") as tx:
        ours = await users.everybody(tx)
        theirs = await users.by_id(tx, other_people[Role.ADMIN].id)

    assert {user.id for user in people.values()} == {user.id for user in ours}
    assert theirs is None


async def test_a_transaction_without_a_tenant_sees_nobody(database: Database, people: People) -> None:
    async with database.transaction("") as tx:
        assert [] == await users.everybody(tx)


async def test_a_row_for_another_tenant_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
        async with database.transaction("default") as tx:
            await users.add(tx, tenant="other", email="x@y.z", name="", role=Role.USER, password_hash=None)


async def test_a_tenant_does_not_stay_on_a_pooled_connection(database_url: str, people: People) -> None:
    """Control: a session-level SET would survive the return to the pool, and the next request would read on."""
    database = Database.connect(database_url, size=1)
    async with database.transaction("default") as tx:
        assert await users.everybody(tx)
    async with database.transaction("") as tx:
        after_local = await users.everybody(tx)
    async with database.engine.connect() as raw:
        await raw.execute(sa.text("SELECT set_config('app.tenant', 'default', false)"))
        await raw.execute(sa.text("SET ROLE agentos_app"))
        await raw.commit()
    async with database.engine.connect() as raw:
        after_session = (await raw.execute(sa.text("SELECT count(*) FROM users"))).scalar_one()
    await database.close()

    assert [] == after_local
    assert len(people) == after_session


async def test_the_audit_trail_can_be_neither_changed_nor_emptied(database: Database) -> None:
    for statement in ("UPDATE audit SET action = ''", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            async with database.system() as tx:
                await tx.execute(sa.text(statement))


async def test_what_waits_for_the_commit_runs_after_it_and_never_after_a_rollback(database: Database) -> None:
    seen: list[str] = []

    async def note() -> None:
        async with database.transaction("default") as other:
            seen.append("committed" if await users.by_email(other, "new@default.test") else "open")

    async with database.transaction("default") as tx:
        await users.add(tx, tenant="default", email="new@default.test", name="", role=Role.USER, password_hash=None)
        tx.after_commit(note)
    with pytest.raises(sa.exc.ProgrammingError):  # noqa: PT012 - the hook must be waiting when it fails
        async with database.transaction("default") as tx:
            tx.after_commit(note)
            await tx.execute(sa.text("SELECT no_such_column"))

    assert ["committed"] == seen


async def test_a_name_is_held_by_one_transaction_until_it_ends(database: Database) -> None:
    async with database.transaction("default") as first:
        await first.hold("the last place")
        async with database.transaction("other") as second:
            meanwhile = await second.try_hold("the last place"), await second.try_hold("another place")
    async with database.system() as third:
        afterwards = await third.try_hold("the last place")

    assert ((False, True), True) == (meanwhile, afterwards)


async def test_a_statement_ends_at_its_timeout(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="statement timeout"):
        async with database.transaction("default", timeout=timedelta(milliseconds=50)) as tx:
            # Shorter than the usual timeout, which would end it as well.
            await tx.execute(sa.text("SELECT pg_sleep(3)"))


async def test_who_waits_in_vain_for_a_lock_may_try_again(database: Database, people: People) -> None:
    """Someone who tends a table for longer than others wait is no failure of theirs."""
    async with database.system() as held:
        await held.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DatabaseBusy):  # noqa: PT012 - it fails inside
            async with database.transaction("default") as tx:
                await tx.execute(sa.text("SET LOCAL lock_timeout = '10ms'"))
                await users.everybody(tx)

    async with database.transaction("default") as tx:
        assert people.keys() == {user.role for user in await users.everybody(tx)}


async def test_of_two_in_each_others_way_one_may_try_again(roomy: Database) -> None:
    turns = asyncio.Barrier(2)

    async def hold(first: str, second: str) -> None:
        async with roomy.transaction("default", timeout=timedelta(minutes=1)) as tx:
            await tx.execute(sa.text(f"LOCK TABLE {first} IN ACCESS EXCLUSIVE MODE"))
            await turns.wait()
            await tx.execute(sa.text(f"LOCK TABLE {second} IN ACCESS EXCLUSIVE MODE"))

    ended = await asyncio.gather(hold("users", "jobs"), hold("jobs", "users"), return_exceptions=True)

    assert {type(None), DatabaseBusy} == {type(each) for each in ended}


async def test_connections_that_died_are_replaced_without_an_error(database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        await users.everybody(tx)
    async with database.engine.connect() as raw:
        await raw.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    async with database.transaction("default") as tx:
        assert people.keys() == {user.role for user in await users.everybody(tx)}


async def test_an_unreachable_database_is_named_as_such() -> None:
    database = Database.connect("postgresql+asyncpg://nobody:x@127.0.0.1:1/none")

    with pytest.raises(DatabaseUnavailable):
        async with database.transaction("default"):
            pytest.fail("there is no database")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_an_address_as_operators_write_it_is_taken(database_url: str, scheme: str) -> None:
    url = scheme + plain(database_url).removeprefix("postgresql")
    database = Database.connect(url)
    async with database.system() as tx:
        answered = await tx.scalar(sa.text("SELECT 7"))
    await database.close()

    assert 7 == answered
    assert runner.head() == await runner.current(url)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("postgres://u:p%40ss@h:5433/n", "postgresql+asyncpg://u:p%40ss@h:5433/n"),
        ("postgresql://u@/n?host=/run/pg", "postgresql+asyncpg://u@/n?host=%2Frun%2Fpg"),
        ("postgresql://h/n?sslmode=require", "postgresql+asyncpg://h/n?ssl=require"),
    ],
)
def test_an_address_keeps_everything_but_the_driver(given: str, taken: str) -> None:
    assert taken == driver_url(given).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("mysql://u:s3cret@h/n", "begins with mysql://"),
        ("postgresql+psycopg://u:s3cret@h/n", r"begins with postgresql\+psycopg://"),
        ("s3cret", "cannot be read"),
        ("postgresql://u:s3cret@h:port/n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
async def test_an_address_of_something_else_is_refused_without_telling_the_password(address: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        Database.connect(address)
    with pytest.raises(ValueError, match=says):
        await runner.current(address)

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_connection_that_is_cut_inside_a_transaction_is_named_as_such(database: Database, busy: bool) -> None:
    """Whatever the driver calls it: the caller must learn that trying again may help."""
    cut = sa.text("SELECT pg_terminate_backend(:pid)")

    with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - what fails is a statement inside the block
        async with database.transaction("default") as tx:
            pid = await tx.scalar(sa.text("SELECT pg_backend_pid()"))
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(_expected(tx, "SELECT pg_sleep(5)")) if busy else None
                async with database.engine.connect() as other:
                    await other.execute(cut, {"pid": pid})
            error = waiting.result() if waiting else None
            if error is not None:
                raise error
            await tx.scalar(sa.text("SELECT 1"))


async def _expected(tx: Transaction, statement: str) -> Exception | None:
    try:
        await tx.scalar(sa.text(statement))
    except sa.exc.DBAPIError as error:
        return error
    return None
