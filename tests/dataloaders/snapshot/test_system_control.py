"""What can be controlled, and how it stands."""

from datetime import timedelta

import pytest

from dataloaders.snapshot import system_control
from dataloaders.snapshot.probes import Health
from dataloaders.snapshot.sources import Frame, Sources
from db import house
from db.database import Database
from tests.dataloaders.snapshot.conftest import Lived, frame_of


async def test_services_are_as_they_were_probed(sources: Sources, tenant: str, lived: Lived) -> None:
    services = (await system_control.collect(sources, frame_of(tenant))).system_status.services

    assert (None, None) == (services.api.status, services.websocket.status)
    assert (Health.HEALTHY, 1, 3) == (services.workers.status, services.workers.count, services.workers.queue_size)
    assert (Health.HEALTHY, Health.HEALTHY) == (services.database.status, services.redis.status)
    assert services.database.connections >= 1
    assert services.database.size.endswith("MB")


@pytest.mark.parametrize("of", ["default", "other"])
async def test_maintenance_is_shown_to_every_tenant_until_it_ends(
    sources: Sources, of: str, database: Database
) -> None:
    async def told(*, lasting: timedelta | None) -> tuple[bool, str | None, bool]:
        async with database.system() as tx:
            await house.mark_maintenance(tx, enabled=True, message="new disks", lasting=lasting, by=None)
        info = (await system_control.collect(sources, frame_of(of))).maintenance_info
        return info.maintenance_mode, info.maintenance_message, info.maintenance_until is not None

    before = (await system_control.collect(sources, frame_of(of))).maintenance_info

    assert (False, None, None) == (before.maintenance_mode, before.maintenance_message, before.maintenance_until)
    assert (True, "new disks", False) == await told(lasting=None)
    assert (True, "new disks", True) == await told(lasting=timedelta(minutes=5))
    assert (False, None, False) == await told(lasting=timedelta(seconds=-1))


async def test_the_actions_offered_are_the_catalogues(sources: Sources, frame: Frame) -> None:
    shown = await system_control.collect(sources, frame)

    assert sources.about.actions == shown.available_actions
