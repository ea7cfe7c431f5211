"""The arq side of a worker: rings are passed on, the snapshot is warmed, and lost connections are got over."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from dataloaders.snapshot import About, Snapshots
from db import keys
from db.database import Database
from db.files import Files
from db.redis import Redis
from tests.waiting import eventually, until
from tests.workers.conftest import Bench
from workers.bell import listen
from workers.doorbell import Doorbell
from workers.engine import Engine


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds every second, which tests need not wait long for."""
    monkeypatch.setattr("workers.bell.WARM_AT", set(range(60)))


class Listening(Engine):
    """An engine that counts how often it was rung."""

    rings = 0

    def ring(self) -> None:
        self.rings += 1
        super().ring()


@asynccontextmanager
async def heard(bench: Bench, redis_url: str, redis: Redis, folder: Path) -> AsyncIterator[Listening]:
    """The bell of an engine that is not at work."""
    about = About(version="0", started_at=datetime.now(UTC), data_dir=folder, host="127.0.0.1", port=0, ws_port=0)
    snapshots = Snapshots(bench.database, redis, about)
    engine = Listening(bench.database, bench.turns().take, worker_id="w", concurrency=1)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen(redis_url, engine, snapshots.warm_all))
        try:
            yield engine
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            await snapshots.close()


async def _rings(engine: Listening) -> int:
    return engine.rings


async def test_a_ring_reaches_the_engine(bench: Bench, redis_url: str, redis: Redis, tmp_path: Path) -> None:
    async with heard(bench, redis_url, redis, tmp_path) as engine:
        await Doorbell(redis).ring(uuid4())
        rings = await eventually(lambda: _rings(engine), lambda seen: seen > 0)

    assert 1 == rings


@pytest.mark.usefixtures("often")
async def test_the_snapshot_is_warmed(bench: Bench, redis_url: str, redis: Redis, tmp_path: Path) -> None:
    async with heard(bench, redis_url, redis, tmp_path):
        found = await eventually(lambda: redis.exists(keys.snapshot("default")), lambda seen: bool(seen), every_s=0.1)

    assert 1 == found


@pytest.mark.usefixtures("often")
async def test_no_queue_takes_the_rounds_of_another(redis_url: str) -> None:
    """Of a queue's listeners one begins each round; those of the workers leave the warmer's alone."""
    queues = {"apart": (keys.DOORBELL, keys.WARMING), "control": ("shared", "shared")}
    begun, since, over = Counter[str](), time.time(), asyncio.Event()

    def warm(pair: str) -> Callable[[], Awaitable[None]]:
        async def once() -> None:
            begun[pair] += 1
            # arq forgets a round that has ended, and a listener that is late to it would begin it again.
            await over.wait()

        return once

    def twice(pair: str) -> bool:
        """Whether two began a round that is one: there is one a second, which may begin late, never early."""
        return begun[pair] > int(time.time() - since) + 1

    async with asyncio.TaskGroup() as group:
        listening = [
            group.create_task(listen(redis_url, None, warm(pair), queue=queue))
            for pair, both in queues.items()
            for queue in both
        ]
        await until(lambda: twice("apart") and begun["control"] > 2)
        over.set()
        for task in listening:
            task.cancel()

    assert not twice("control")


async def test_a_bell_that_was_cut_off_rings_again(bench: Bench, redis_url: str, redis: Redis, tmp_path: Path) -> None:
    """arq may end with its connection, and with the ring it has just taken; whoever owns it must start it anew."""
    async with heard(bench, redis_url, redis, tmp_path) as engine:
        await Doorbell(redis).ring(uuid4())
        before = await eventually(lambda: _rings(engine), lambda seen: seen > 0)
        await redis.client_kill_filter(_type="normal", skipme=True)

        async def rung() -> int:
            await Doorbell(redis).ring(uuid4())
            return engine.rings

        await eventually(rung, lambda seen: seen > before, every_s=0.1)


async def test_warming_is_left_out_while_the_database_is_away(redis_url: str, redis: Redis, tmp_path: Path) -> None:
    away = Database.connect("postgresql://nobody:x@127.0.0.1:1/none")
    async with heard(Bench(away, Files(tmp_path)), redis_url, redis, tmp_path) as engine:
        await Doorbell(redis).ring(uuid4())
        rings = await eventually(lambda: _rings(engine), lambda seen: seen == 1)
    await away.close()

    assert 1 == rings
