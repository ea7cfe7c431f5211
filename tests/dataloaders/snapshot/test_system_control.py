"""What can be controlled, and how it stands."""

from dataloaders.snapshot import system_control
from dataloaders.snapshot.probes import Health
from dataloaders.snapshot.sources import Frame, Sources
from db import configuration
from db.database import Database
from tests.dataloaders.snapshot.conftest import Lived, frame_of


async def test_services_are_as_they_were_probed(sources: Sources, tenant: str, lived: Lived) -> None:
    services = (await system_control.collect(sources, frame_of(tenant))).system_status.services

    assert (None, None) == (services.api.status, services.websocket.status)
    assert (Health.HEALTHY, 1, 3) == (services.workers.status, services.workers.count, services.workers.queue_size)
    assert (Health.HEALTHY, Health.HEALTHY) == (services.database.status, services.redis.status)
    assert services.database.connections >= 1
    assert services.database.size.endswith("MB")


async def test_maintenance_is_what_the_configuration_says(sources: Sources, tenant: str, database: Database) -> None:
    before = await system_control.collect(sources, frame_of(tenant))
    async with database.transaction(tenant) as tx:
        await configuration.change(tx, {configuration.MAINTENANCE: True})

    during = await system_control.collect(sources, frame_of(tenant))

    assert not before.maintenance_info.maintenance_mode
    assert during.maintenance_info.maintenance_mode


async def test_the_actions_offered_are_the_catalogues(sources: Sources, frame: Frame) -> None:
    shown = await system_control.collect(sources, frame)

    assert sources.about.actions == shown.available_actions
