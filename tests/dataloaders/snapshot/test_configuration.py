"""How the system is set, without anything that could be used against it."""

from datetime import timedelta

import msgspec

from dataloaders.snapshot import configuration
from dataloaders.snapshot.sources import Frame, Sources
from db import queues
from db.database import Database
from tests.dataloaders.snapshot.conftest import Lived, frame_of


async def test_it_names_no_secret_and_no_place_on_the_disk(
    sources: Sources, frame: Frame, lived: Lived, database_url: str, redis_url: str
) -> None:
    shown = msgspec.json.encode(await configuration.collect(sources, frame)).decode()

    passwords = [url.split("@")[0].rpartition(":")[2] for url in (database_url, redis_url)]
    assert [] == [word for word in ("hunter2", str(sources.about.data_dir), *passwords) if word and word in shown]


async def test_settings_that_people_made_are_shown_with_their_version(
    sources: Sources, frame: Frame, lived: Lived
) -> None:
    shown = await configuration.collect(sources, frame)

    assert (1, {"theme": "dark", "smtp_password": "***"}) == (shown.version, shown.settings)


async def test_what_was_never_set_is_version_zero(sources: Sources, frame: Frame) -> None:
    shown = await configuration.collect(sources, frame)

    assert (0, {}) == (shown.version, shown.settings)


async def test_plain_facts_are_those_of_this_process(sources: Sources, frame: Frame) -> None:
    shown = await configuration.collect(sources, frame)

    system, flat = shown.system_configuration, shown.system_config
    assert ("5.0.0", "tests", 6) == (
        system.system.version,
        system.system.environment,
        system.system.max_concurrent_jobs,
    )
    assert (10, 0) == (system.database.connection_pool_size, system.database.max_overflow)
    assert (sources.about.port, None, False) == (flat.api_port, flat.admin_port, flat.cors_enabled)
    assert (100, 100) == (system.storage.max_file_size_mb, flat.max_file_size)
    assert 11 == shown.agent_configuration.total_configs == len(shown.agent_config.agents)


async def test_the_queue_is_said_to_be_paused(sources: Sources, tenant: str, database: Database) -> None:
    before = await configuration.collect(sources, frame_of(tenant))
    async with database.transaction(tenant) as tx:
        await queues.mark_paused(tx, lasting=timedelta(minutes=5))

    during = await configuration.collect(sources, frame_of(tenant))

    assert ("running", "paused") == (before.queue_configuration.status, during.queue_configuration.status)
