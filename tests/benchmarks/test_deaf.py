"""What one client that reads nothing costs nineteen others: how soon they have a change, and what the server keeps.

The same changes are told first to the nineteen alone and then beside the deaf one, over sockets to a process of its
own, from the commit to the arrival by one clock. Budget: 99 of 100 within 200 ms, and no more memory than before.
"""

import asyncio
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Final

import pytest

from agentos.embedded import Addresses
from tests.agentos.followers import Watcher, subscribed
from tests.agentos.replicas import fleet
from tests.agentos.test_live_updates import FAT, READERS, THINGS, Crowd, let_go

CHANGES: Final = 300
FLOOD: Final = 5_000


def report(what: str, seconds: Sequence[float]) -> None:
    ms = sorted(each * 1000 for each in seconds)
    parts = quantiles(ms, n=100)
    print(f"{what:<18} min {ms[0]:6.1f}  median {median(ms):6.1f}  p95 {parts[94]:6.1f}  p99 {parts[98]:6.1f} ms")


@pytest.mark.benchmark
async def test_one_deaf_client_beside_nineteen(pair: Addresses, template: str) -> None:
    async with fleet(pair.database_url, template) as replicas:
        [replica] = await replicas.of(1)
        users = await replicas.people(READERS)
        readers = [Watcher(replicas.token(user)) for user in users]
        deaf = Watcher(replicas.token(users[0]))
        claims = await replicas.at_work(THINGS, title="t" * 1_400)
        start = await replicas.edge()
        crowd = Crowd(replicas, readers, claims)
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(each.watch(replica, start)) for each in readers]
            await crowd.latencies(CHANGES // 10)
            alone = await crowd.latencies(CHANGES)
            async with subscribed(replica, deaf.token, start, shown=FAT, deaf=True) as connection:
                connection.transport.pause_reading()
                await crowd.flood(THINGS)
                beside = await crowd.latencies(CHANGES)
                leaving = group.create_task(let_go(replica, connection, deaf))
                before_mb, cpu_s = replica.rss_mb, replica.cpu_s
                await crowd.flood(FLOOD)
                cpu_s, after_mb = replica.cpu_s - cpu_s, replica.rss_mb
                farewell = await leaving
            for task in reading:
                task.cancel()

    print(f"\n{CHANGES} changes, one after the other, to {READERS} clients")
    report("alone", alone)
    report("beside a deaf one", beside)
    p99_ms = quantiles(beside, n=100)[98] * 1000
    print(f"{FLOOD:,} changes at once: {before_mb:.0f} MB before, {after_mb:.0f} MB after", end=", ")
    print(f"{cpu_s / FLOOD / READERS * 1e6:.0f} µs CPU a delivery")
    print(f"the deaf one is told {farewell.code}: {farewell.reason}")
    assert p99_ms < 200, "more than the others are to notice"
