"""A client of the legacy WebSocket, and the server that speaks it, in the process of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from websockets.asyncio.client import connect

from agentos import websocket
from agentos.settings import Settings
from agentos.transports.legacy_sockets import LegacySockets
from db import jobs
from db.database import Database
from db.jobs import Job, NewJob
from resolvers.context import Services
from tests.serving import Served, Socket, served
from tests.waiting import PATIENCE_S

AGENT: Final = "video-downloader"


@asynccontextmanager
async def speaking(
    settings: Settings, services: Services, *, beat_s: float | None = None, init_s: float | None = None
) -> AsyncIterator[tuple[Served, LegacySockets]]:
    """The application of the legacy WebSocket's process, on a free port."""
    app = websocket.create_app(settings, services)
    legacy: LegacySockets = app.state.legacy
    legacy.beat_s, legacy.init_s = beat_s or legacy.beat_s, init_s or legacy.init_s
    async with served(app) as server:
        yield server, legacy


@asynccontextmanager
async def legacy_socket(
    server: Served, token: str | None = None, *, path: str = "/", greeted: bool = True, **headers: str
) -> AsyncIterator[Socket]:
    """A socket, by default one that has heard who is there and how many jobs are where.

    Args:
        headers: of its handshake; a token is sent as `Authorization`.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with connect(
        f"ws://{server.host}:{server.port}{path}", additional_headers=sent, open_timeout=PATIENCE_S, close_timeout=2
    ) as connection:
        socket = Socket(connection)
        if greeted:
            assert "connection_established" == (await socket.hear())["type"]
            assert "queue_stats" == (await socket.hear())["type"]
        yield socket


async def heard(socket: Socket, *kinds: str) -> dict[str, Any]:
    """The next message of one of these types; numbers, workers and system events may come at any time between."""
    while True:
        message = await socket.hear()
        if message["type"] in kinds:
            return message


async def queued(database: Database, tenant: str, owner: UUID | None) -> Job:
    async with database.transaction(tenant) as tx:
        return await jobs.add(tx, NewJob(user_id=owner, source_url="https://example.test/a.mp4", chain=[AGENT]))


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message without its time, which is checked to be one in UTC."""
    assert message["timestamp"].endswith("Z")
    datetime.fromisoformat(message["timestamp"])
    return {name: value for name, value in message.items() if name != "timestamp"}


async def asked(socket: Socket, message: object, *kinds: str) -> dict[str, Any]:
    await socket.say(message)
    return plain(await heard(socket, *kinds))
