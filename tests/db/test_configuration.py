"""Configuration: the newest version is in force, and no version is ever lost."""

import asyncio

from db import configuration
from db.database import Database
from db.models.identity import Role
from tests.conftest import People


async def test_nothing_set_is_nothing_in_force(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        assert await configuration.in_force(tx) is None


async def test_a_change_keeps_what_it_does_not_name(database: Database, tenant: str, people: People) -> None:
    admin = people[Role.ADMIN].id
    async with database.transaction(tenant) as tx:
        await configuration.change(tx, {"theme": "dark", "limit": 3})
        changed = await configuration.change(tx, {"limit": None, "size": 5}, reason="why not", changed_by=admin)

    async with database.transaction(tenant) as tx:
        present = await configuration.in_force(tx)
        versions = await configuration.history(tx, most=9)

    assert changed == present
    assert (2, {"theme": "dark", "size": 5}, "why not", admin) == (
        changed.version,
        changed.settings,
        changed.reason,
        changed.changed_by,
    )
    assert [2, 1] == [version.version for version in versions]
    async with database.transaction(tenant) as tx:
        assert versions == [await configuration.by_version(tx, number) for number in (2, 1)]
        assert await configuration.by_version(tx, 3) is None


async def test_changes_at_once_build_on_each_other(roomy: Database, tenant: str) -> None:
    async def change(number: int) -> None:
        async with roomy.transaction(tenant) as tx:
            await configuration.change(tx, {f"setting{number}": number})

    await asyncio.gather(*(change(number) for number in range(8)))

    async with roomy.transaction(tenant) as tx:
        present = await configuration.in_force(tx)
    assert present is not None
    assert (8, {f"setting{number}": number for number in range(8)}) == (present.version, present.settings)


async def test_a_setting_is_its_tenants_alone(database: Database, tenant: str) -> None:
    async with database.transaction(tenant) as tx:
        await configuration.change(tx, {"theme": "dark"})
    async with database.transaction("other") as tx:
        assert await configuration.in_force(tx) is None
