"""An upload goes to disk as it comes in; how large it is does not show in memory."""

import asyncio
from pathlib import Path

import pytest

from db.files import MB
from db.models.identity import Role
from db.users import User
from tests.forks import Forking, forking

fork = forking("tests.agentos.transports.sending")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["rest", "tus"])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux shows it")
async def test_a_hundred_megabytes_take_less_than_thirty_of_memory(
    fork: Forking, database_url: str, redis_url: str, people: dict[Role, User], tmp_path: Path, way: str
) -> None:
    async with fork(way, database_url, redis_url, str(tmp_path), str(people[Role.USER].id)) as process:
        async with asyncio.timeout(200):
            printed = await process.stdout.read()

        assert 0 == await process.wait()
    assert int(printed) < 30 * MB
