"""The trail in the database: one line however many write at once, and nobody who writes it can change it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa

from db import audit
from db.audit import Filter
from db.database import Database
from db.pages import Order, Window
from guards.trail import digest
from tests.trails import recorded, seals
from tests.urls import driver_url

ROLES: Final = ("agentos_app", "agentos_system")
PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
NOTHING: Final[set[str]] = set()

MATRIX: Final = {
    ("agentos_app", "public.audit"): {"SELECT", "INSERT"},
    ("agentos_app", "audit_trail.heads"): NOTHING,
    ("agentos_app", "audit_trail.anchors"): NOTHING,
    ("agentos_app", "partition"): NOTHING,
    ("agentos_app", "public.pii_subjects"): {"SELECT", "INSERT"},
    ("agentos_system", "public.audit"): {"SELECT", "INSERT"},
    ("agentos_system", "audit_trail.heads"): {"SELECT"},
    ("agentos_system", "audit_trail.anchors"): {"SELECT", "INSERT"},
    ("agentos_system", "partition"): NOTHING,
    ("agentos_system", "public.pii_subjects"): {"SELECT", "INSERT", "UPDATE"},
}
"""What each role that acts may do to what the trail consists of."""


async def links(database: Database, tenant: str = "default") -> list[audit.Link]:
    async with database.system() as tx:
        return await audit.links(tx, tenant, after=0, most=1000)


async def test_a_role_may_do_to_the_trail_just_what_the_matrix_says(database: Database) -> None:
    async with database.system() as tx:
        [(part,)] = await tx.rows(
            sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit'::regclass LIMIT 1")
        )
        found = {
            (role, table): {
                privilege
                for privilege in PRIVILEGES
                if await tx.scalar(
                    sa.text("SELECT has_table_privilege(:role, :table, :privilege)"),
                    {"role": role, "table": part if table == "partition" else table, "privilege": privilege},
                )
            }
            for role, table in MATRIX
        }

    assert found == MATRIX


async def test_the_trail_belongs_to_a_role_that_nobody_is(database: Database) -> None:
    async with database.system() as tx:
        owners = await tx.rows(
            sa.text(
                "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class "
                "WHERE oid = 'audit'::regclass OR relnamespace = 'audit_trail'::regnamespace "
                "UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'audit_trail'::regnamespace "
                "UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'audit_trail'"
            )
        )
        members = await tx.rows(
            sa.text(
                "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname <> 'agentos_audit' "
                "AND rolname IN ('agentos_app', 'agentos_system', session_user) "
                "AND pg_has_role(rolname, 'agentos_audit', 'MEMBER')"
            )
        )
        enters = await tx.scalar(sa.text("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'agentos_audit'"))

    assert [("agentos_audit",)] == owners
    assert [] == members
    assert enters is False


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET action = 'x'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DROP TABLE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "ALTER TABLE audit DISABLE ROW LEVEL SECURITY",
        "DROP TRIGGER chain ON audit",
        "CREATE RULE r AS ON INSERT TO audit DO INSTEAD NOTHING",
        "CREATE OR REPLACE FUNCTION audit_trail.chain() RETURNS trigger LANGUAGE sql AS 'SELECT 1'",
        "UPDATE audit_trail.heads SET seq = 0",
        "DELETE FROM audit_trail.heads",
        "UPDATE audit_trail.anchors SET seq = 0",
        "DELETE FROM audit_trail.anchors",
        "DELETE FROM pii_subjects",
        "SET LOCAL session_replication_role = replica",
        "CREATE TABLE audit_trail.mine ()",
    ],
)
async def test_neither_role_can_get_at_the_trail(database: Database, role: str, statement: str) -> None:
    await recorded(database, seals(), 2)
    before = await links(database)

    with pytest.raises(sa.exc.DBAPIError, match=r"permission denied|must be owner|must be superuser"):
        async with database.transaction("default") if role == "agentos_app" else database.system() as tx:
            await tx.execute(sa.text(statement))

    assert before == await links(database)


async def test_whatever_is_sent_as_number_hash_or_time_the_database_knows_better(database: Database) -> None:
    await recorded(database, seals(), 1)
    async with database.transaction("default") as tx:
        await tx.execute(
            sa.text(
                "INSERT INTO audit (tenant_id, seq, at, action, outcome, previous, hash) "
                "VALUES ('default', 77, now() + interval '1 microsecond', 'x', 'done', '\\x00', '\\x01')"
            )
        )
        now = await tx.scalar(sa.text("SELECT now()"))

    first, second = await links(database)
    assert (2, now, first.hash) == (second.seq, second.at, second.previous)
    assert digest(second) == second.hash


async def test_an_entry_of_another_time_is_refused(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"no partition|moving row"):
        async with database.transaction("default") as tx:
            await tx.execute(
                sa.text(
                    "INSERT INTO audit (tenant_id, seq, at, action, outcome) "
                    "VALUES ('default', 0, now() + interval '40 days', 'x', 'done')"
                )
            )

    assert [] == await links(database)


@pytest.mark.parametrize("tenant", ["default", ""])
async def test_an_entry_of_another_tenant_is_refused(database: Database, tenant: str) -> None:
    way = database.transaction(tenant) if tenant else database.system()
    with pytest.raises(sa.exc.DBAPIError, match=r"row-level security|the tenant of its transaction"):
        async with way as tx:
            await tx.execute(
                sa.text("INSERT INTO audit (tenant_id, seq, action, outcome) VALUES ('other', 0, 'x', 'done')")
            )

    assert [] == await links(database, "other")


async def test_the_owner_itself_neither_changes_nor_empties_it(database: Database, database_url: str) -> None:
    await recorded(database, seals(), 1)
    connection = await asyncpg.connect(driver_url(database_url))
    try:
        if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            pytest.skip("only a superuser can become the owner of the trail, and the given user is none")
        part = await connection.fetchval("SELECT tableoid::regclass::text FROM audit")
        for table in ("audit", part, "audit_trail.anchors"):
            for statement in ("UPDATE {} SET seq = 9", "DELETE FROM {}", "TRUNCATE {}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="neither changed nor emptied"):
                    await connection.execute(statement.format(table))
    finally:
        await connection.close()


async def test_what_sixteen_write_at_once_is_one_line(roomy: Database) -> None:
    """Without a gap, without a fork, and each tenant's its own."""
    keys = seals()
    await asyncio.gather(
        *(recorded(roomy, keys, 5, actor=None) for _ in range(16)),
        *(recorded(roomy, keys, 2, tenant="other") for _ in range(4)),
    )

    ours, theirs = await links(roomy), await links(roomy, "other")
    assert [*range(1, 81)] == [link.seq for link in ours]
    assert [*range(1, 9)] == [link.seq for link in theirs]
    assert [bytes(32), *(link.hash for link in ours[:-1])] == [link.previous for link in ours]
    assert all(digest(link) == link.hash for link in ours + theirs)


async def test_control_a_chain_that_its_writers_make_forks(database: Database, database_url: str) -> None:
    """Each reads the last hash and adds its own to it: without a lock, several add to the same."""
    owner = await asyncpg.connect(driver_url(database_url))
    await owner.execute("CREATE TABLE chained (id bigint GENERATED ALWAYS AS IDENTITY, previous bigint)")
    together = asyncio.Barrier(8)

    async def write() -> None:
        connection: Any = await asyncpg.connect(driver_url(database_url))
        try:
            async with connection.transaction():
                last = await connection.fetchval("SELECT coalesce(max(id), 0) FROM chained")
                await together.wait()
                await connection.execute("INSERT INTO chained (previous) VALUES ($1)", last)
        finally:
            await connection.close()

    try:
        await asyncio.gather(*(write() for _ in range(8)))
        forks = await owner.fetchval("SELECT count(*) - count(DISTINCT previous) FROM chained")
    finally:
        await owner.close()

    assert 7 == forks


async def test_what_is_rolled_back_leaves_no_gap(database: Database) -> None:
    keys = seals()
    await recorded(database, keys, 1)
    with pytest.raises(sa.exc.DBAPIError):  # noqa: PT012 - the entry must be in when it fails
        async with database.transaction("default") as tx:
            await audit.add(tx, new("job.delete"))
            await tx.execute(sa.text("SELECT 1 / 0"))
    await recorded(database, keys, 1)

    assert [1, 2] == [link.seq for link in await links(database)]


def new(action: str) -> audit.NewEntry:
    """An entry about nobody."""
    return audit.NewEntry(
        actor_id=None,
        role=None,
        action=action,
        target=None,
        outcome="done",
        code=None,
        trace_id=None,
        key_hash=None,
        details={},
        result={},
        commitment=None,
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [1, 2, 3]),
        (Filter(action="job.cancel"), [1, 3]),
        (Filter(about="job"), [1, 3]),
        (Filter(about="jo"), []),
        (Filter(target="t2"), [2]),
        (Filter(trace_id="t3"), [3]),
        (Filter(outcomes=("done",)), [1, 2, 3]),
        (Filter(outcomes=("denied", "failed")), []),
        (Filter(since=datetime.now(UTC) + timedelta(days=1)), []),
        (Filter(until=datetime.now(UTC) + timedelta(days=1)), [1, 2, 3]),
    ],
)
async def test_the_trail_is_listed_as_wanted(database: Database, wanted: Filter, found: list[int]) -> None:
    keys = seals()
    for number, action in enumerate(("job.cancel", "queue.clear", "job.cancel"), start=1):
        await recorded(database, keys, 1, action=action, target=f"t{number}", trace_id=f"t{number}")
    async with database.transaction("default") as tx:
        page = await audit.listed(tx, wanted, Order("seq", descending=False), Window())
        count = await audit.how_many(tx, wanted)

    assert (found, len(found)) == ([each.seq for each in page.items], count)


@pytest.mark.parametrize("column", ["seq", "at"])
async def test_the_trail_is_paged(database: Database, column: str) -> None:
    await recorded(database, seals(), 5)
    order = Order(column, descending=False)
    async with database.transaction("default") as tx:
        first = await audit.listed(tx, Filter(), order, Window(size=2))
        then = await audit.listed(tx, Filter(), order, Window(size=2, cursor=first.cursors[-1]))

    assert [1, 2, 3, 4] == [each.seq for each in first.items + then.items]


async def test_the_trail_of_another_tenant_is_not_seen(database: Database) -> None:
    await recorded(database, seals(), 1, tenant="other")
    async with database.transaction("default") as tx:
        page = await audit.listed(tx, Filter(), Order("seq"), Window())

    assert [] == page.items


async def test_room_is_made_once_however_many_make_it(database: Database) -> None:
    async def prepared() -> int:
        async with database.system() as tx:
            return await audit.prepare(tx, months=14)

    assert 2 == sum(await asyncio.gather(*(prepared() for _ in range(4))))


async def test_an_entry_of_the_coming_months_has_room(database: Database) -> None:
    async with database.system() as tx:
        months = await audit.months(tx)

    assert [13, 13] == [len(months), len({(month.year, month.month) for month in months})]
