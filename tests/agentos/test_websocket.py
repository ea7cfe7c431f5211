"""The process of the legacy WebSocket, alone; `test_up.py` has it steered like the others."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from agentos.settings import Settings
from db.models.identity import Role
from db.users import User
from tests.agentos.commands import READY_S, environment, run, started
from tests.agentos.conftest import TokenOf
from tests.agentos.transports.legacy import heard
from tests.conftest import People
from tests.serving import Socket, plain_client
from tests.waiting import PATIENCE_S


@asynccontextmanager
async def opened(url: str, token: str) -> AsyncIterator[Socket]:
    """A socket that has been greeted."""
    bearer = {"Authorization": f"Bearer {token}"}
    async with connect(url, additional_headers=bearer, open_timeout=PATIENCE_S, close_timeout=2) as connection:
        made = Socket(connection)
        await heard(made, "queue_stats")
        yield made


async def answers(url: str, token: str) -> bool:
    try:
        async with opened(url, token):
            return True
    except (OSError, WebSocketException):
        return False


@asynccontextmanager
async def alone(settings: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m agentos websocket` on a free port, and where it listens."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    env = environment(
        settings.data_dir,
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        ws_port="0",
        log_format="json",
    )
    process = await started("websocket", env=env)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(READY_S):
            while "listens" not in (said := json.loads(await process.stderr.readline()))["event"]:
                pass
        yield process, said["event"].rpartition(" ")[2]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.slow
async def test_it_runs_alone_and_tells_its_clients_when_it_goes(
    settings: Settings, people: People, token_of: TokenOf
) -> None:
    users: list[User] = [people[role] for role in (Role.ADMIN, Role.USER)]
    async with alone(settings) as (process, url):
        first, second = [opened(url, token_of(user)) for user in users]
        async with first as one, second as other, plain_client() as http:
            ready = (await http.get(f"{url.replace('ws', 'http', 1)}/readyz")).status_code
            process.send_signal(signal.SIGTERM)
            codes = [await one.ended(), await other.ended()]
        async with asyncio.timeout(PATIENCE_S):
            status = await process.wait()

    assert (200, [1012, 1012], 0) == (ready, codes, status)


async def test_a_taken_port_is_named_with_the_way_to_another(settings: Settings) -> None:
    assert settings.database_url is not None
    assert settings.redis_url is not None
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stores = {"database_url": settings.database_url, "redis_url": settings.redis_url}
        outcome = await run("websocket", env=environment(settings.data_dir, ws_port=str(port), **stores))

    assert (1, "") == (outcome.code, outcome.out)
    assert str(port) in outcome.err
    assert "AGENTOS_WS_PORT" in outcome.err
