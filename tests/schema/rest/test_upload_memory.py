"""An upload goes to disk as it comes in; how large it is does not show in memory."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from db.files import MB
from db.models.identity import Role
from db.users import User

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tests.schema.rest.sending", "tests.agentos.transports.sending"])
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux shows it")
async def test_a_hundred_megabytes_take_less_than_thirty_of_memory(
    database_url: str, redis_url: str, people: dict[Role, User], tmp_path: Path, way: str
) -> None:
    arguments = (database_url, redis_url, str(tmp_path), str(people[Role.USER].id))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", way, *arguments, stdout=PIPE, cwd=ROOT)
    async with asyncio.timeout(200):
        printed, _ = await process.communicate()

    assert 0 == process.returncode
    assert int(printed) < 30 * MB
