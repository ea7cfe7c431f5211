import stat
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from agentos.embedded import Stores


async def test_it_keeps_every_write_and_refuses_more_when_full(valkey: Stores) -> None:
    url = (await valkey.start()).redis_url
    names = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "port")

    async with Redis.from_url(url, decode_responses=True) as redis:
        settings = {name: (await redis.config_get(name))[name] for name in names}

    assert {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(512 * 1024 * 1024),
        "maxmemory-policy": "noeviction",
        "port": "0",
    } == settings


async def test_without_the_password_nobody_gets_in(valkey: Stores, data_dir: Path) -> None:
    await valkey.start()
    socket = data_dir / "valkey" / "valkey.sock"

    async with Redis(unix_socket_path=str(socket)) as redis:
        with pytest.raises(ConnectionError, match="Authentication required"):
            await redis.ping()

    assert 0o700 == stat.S_IMODE(socket.stat().st_mode)
    assert 0o600 == stat.S_IMODE((data_dir / "valkey" / "valkey.conf").stat().st_mode)


async def test_the_password_is_not_on_the_command_line(valkey: Stores, data_dir: Path) -> None:
    await valkey.start()
    (pid,) = valkey.pids().values()

    command = Path(f"/proc/{pid}/cmdline").read_text()

    assert (data_dir / "valkey.password").read_text() not in command


async def test_any_path_will_do(data_dir: Path) -> None:
    deep = data_dir / ("deep" * 20) / 'with space and "quotes"'
    valkey = Stores(deep, postgres=False)
    url = (await valkey.start()).redis_url
    try:
        async with Redis.from_url(url) as redis:
            assert await redis.ping()
    finally:
        await valkey.stop()
    Path(url.partition("@")[2].partition("?")[0]).parent.rmdir()
