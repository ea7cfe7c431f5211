"""What people should know of the system itself."""

from datetime import UTC, datetime, timedelta

from db import system_events
from db.database import Database
from db.models.records import Severity


async def test_what_is_recorded_is_the_most_recent(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await system_events.record(tx, "redis_away", Severity.ERROR, "redis", "Redis did not answer")
    async with database.system() as tx:
        await system_events.record(
            tx, "redis_back", Severity.INFO, "redis", "Redis answers again", {"after_s": 3}, tenant=tenant
        )

    async with database.transaction(tenant) as tx:
        recent = await system_events.recent(tx, most=9)
    async with database.transaction("other") as tx:
        foreign = await system_events.recent(tx, most=9)

    assert [("redis_back", Severity.INFO, {"after_s": 3}), ("redis_away", Severity.ERROR, {})] == [
        (event.kind, event.severity, event.data) for event in recent
    ]
    assert [] == foreign


async def test_a_transaction_that_fails_records_nothing(database: Database, tenant: str) -> None:
    try:
        async with database.transaction(tenant) as tx:
            await system_events.record(tx, "queue_paused", Severity.WARNING, "queue", "paused")
            raise LookupError
    except LookupError:
        pass

    async with database.transaction(tenant) as tx:
        assert [] == await system_events.recent(tx, most=9)


async def test_only_events_of_just_that_severity_are_counted(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        for severity in (Severity.CRITICAL, Severity.CRITICAL, Severity.ERROR):
            await system_events.record(tx, "disk_low", severity, "storage", "little room")

    now = datetime.now(UTC)
    async with database.transaction(tenant) as tx:
        lately = await system_events.how_many_since(tx, Severity.CRITICAL, now - timedelta(hours=1))
        later = await system_events.how_many_since(tx, Severity.CRITICAL, now + timedelta(hours=1))

    assert (2, 0) == (lately, later)
