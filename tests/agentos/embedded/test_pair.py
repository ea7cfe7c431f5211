import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from agentos import embedded
from agentos.embedded import InUse, NotStarted, Stores
from agentos.embedded.postgres import Postgres
from agentos.embedded.valkey import Valkey
from tests.agentos.embedded.conftest import alive, another_owner, answer, kept, server_pids, stranger, used, written
from tests.waiting import until


async def test_both_answer_over_their_sockets_and_keep_what_was_written(data_dir: Path) -> None:
    async with embedded.stores(data_dir) as first:
        name = await written(first)

    async with embedded.stores(data_dir) as again:
        assert first == again
        assert await kept(again, name)


@used
async def test_an_initialised_pair_starts_within_two_seconds_and_stops_within_five(both: Stores) -> None:
    starting, stopping = [], []
    for _ in range(2):
        before = time.monotonic()
        await both.start()
        started = time.monotonic()
        await both.stop()
        starting.append(started - before)
        stopping.append(time.monotonic() - started)

    # The better of two: a machine that pauses says nothing of the servers.
    assert min(starting) < 2
    assert min(stopping) < 5


async def test_a_second_agentos_is_refused_and_told_the_pid_of_the_first(data_dir: Path, valkey: Stores) -> None:
    with another_owner(data_dir) as (owner, addresses):
        with pytest.raises(InUse, match=rf"in use by another AgentOS with pid {owner.pid}; stop that one"):
            await valkey.start()

        assert addresses == embedded.running(data_dir)
        async with Redis.from_url(addresses.redis_url) as redis:
            assert await redis.ping()


async def test_two_data_directories_run_side_by_side(data_dir: Path) -> None:
    one, two = Stores(data_dir / "one", fast_unsafe=True), Stores(data_dir / "two", fast_unsafe=True)
    try:
        first, second = await asyncio.gather(one.start(), two.start())
        await answer(first.database_url, "CREATE TABLE mine ()")

        assert await answer(second.database_url, "SELECT to_regclass('mine') IS NULL")
    finally:
        await asyncio.gather(one.stop(), two.stop())


@used
async def test_servers_end_with_a_killed_owner_and_the_next_one_has_all_they_had(data_dir: Path, both: Stores) -> None:
    with another_owner(data_dir, postgres=True) as (owner, addresses):
        name = await written(addresses)
        left = server_pids(data_dir)

        owner.kill()
        owner.wait()
        await until(lambda: not any(alive(pid) for pid in left))

    assert embedded.running(data_dir) is None
    assert addresses == await both.start()
    assert await kept(addresses, name)


@used
async def test_servers_that_outlived_their_owner_are_ended_by_the_next_one(
    data_dir: Path, both: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are stopped (SIGSTOP), so that they hear nothing of the owner's death, nor of a mild request."""
    monkeypatch.setattr(Postgres, "stopping", ((signal.SIGINT, 0.1),))
    monkeypatch.setattr(Valkey, "stopping", ((signal.SIGTERM, 0.1),))
    with another_owner(data_dir, postgres=True) as (owner, addresses):
        name = await written(addresses)
        left = server_pids(data_dir)
        for pid in left:
            os.kill(pid, signal.SIGSTOP)
        owner.kill()
        owner.wait()
    assert all(alive(pid) for pid in left)

    again = await both.start()

    assert not any(alive(pid) for pid in left)
    assert await kept(again, name)


@used
async def test_a_stranger_under_a_recycled_pid_is_left_alone_and_not_in_the_way(both: Stores, data_dir: Path) -> None:
    with stranger() as other:
        (data_dir / "valkey/valkey.pid").write_text(f"{other.pid}\n")
        (data_dir / "postgres/data/postmaster.pid").write_text(f"{other.pid}\n{data_dir}/postgres/data\n1\n5432\n")

        await both.start()

        assert other.poll() is None
        assert other.pid not in both.pids().values()


@used
@pytest.mark.parametrize("server", ["PostgreSQL", "Valkey"])
async def test_a_server_that_is_killed_comes_back_at_the_same_address_with_its_data(
    server: str, data_dir: Path
) -> None:
    both = Stores(data_dir)
    addresses = await both.start()
    watch = asyncio.create_task(both.watch())
    try:
        name = await written(addresses)
        killed = both.pids()[server]
        assert killed is not None

        os.kill(killed, signal.SIGKILL)
        await until(lambda: both.pids()[server] not in (None, killed))
        await until(lambda: _answers(addresses))

        assert await kept(addresses, name)
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        await both.stop()


async def _answers(addresses: embedded.Addresses) -> bool:
    try:
        await answer(addresses.database_url, "SELECT 1")
        async with Redis.from_url(addresses.redis_url) as redis:
            return bool(await redis.ping())
    except Exception:  # whatever a driver says while the server is away
        return False


@used
async def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(both: Stores) -> None:
    await both.start()

    assert all(pid is not None and os.getsid(pid) == pid for pid in both.pids().values())


async def test_a_start_that_is_given_up_leaves_no_server_and_no_owner(data_dir: Path, valkey: Stores) -> None:
    both = Stores(data_dir)
    start = asyncio.create_task(both.start())
    await until((data_dir / "valkey/valkey.pid").exists)

    start.cancel()
    await asyncio.wait([start])

    assert start.cancelled()
    assert not any(both.pids().values())
    await valkey.start()


async def test_one_server_that_fails_takes_the_other_down_and_says_what_to_do(data_dir: Path, both: Stores) -> None:
    await both.start()
    await both.stop()
    (data_dir / "valkey/appendonlydir/appendonly.aof.manifest").write_text("nonsense\n")

    with pytest.raises(NotStarted, match=r"(?s)Valkey ended with status 1; what to do: .*move the folder valkey aside"):
        await both.start()

    assert not any(both.pids().values())
    assert embedded.running(data_dir) is None


async def test_a_data_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        NotStarted, match=r"the data directory cannot be used; what to do: .*\n.*Not a directory: .*/file"
    ):
        await Stores(tmp_path / "file" / "below").start()


async def test_the_body_of_the_block_sees_its_own_exceptions(data_dir: Path) -> None:
    with pytest.raises(KeyError):
        async with embedded.stores(data_dir, postgres=False):
            raise KeyError

    assert embedded.running(data_dir) is None
