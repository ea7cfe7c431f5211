"""`up` as an operator meets it: ready, asked, stopped; and the ways it refuses to start."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agentos import embedded
from agentos.ports import PortTaken, free_port
from agentos.whereabouts import announced_url
from db import services, users
from db.database import Database
from db.models.identity import DEFAULT_TENANT, Role
from db.redis import connect
from db.services import Process
from resolvers.context import Context
from tests.acting import act
from tests.agentos.commands import Outcome, environment, run, started
from tests.uploading import context_of, services_over
from tests.waiting import eventually, until

READY_S = 120
STOPPED_S = 20
"""Four times the five seconds that are promised: the machine that tests may be busy with others, or pause."""


@dataclass(slots=True)
class Up:
    """A running `up`."""

    process: asyncio.subprocess.Process
    url: str
    lines: list[str] = field(default_factory=list)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Stop it; its exit code and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        async with asyncio.timeout(READY_S):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, time.monotonic() - began


@asynccontextmanager
async def up(env: Mapping[str, str], *options: str) -> AsyncIterator[Up]:
    """An `up` that is ready, stopped at the end if the test did not."""
    process = await started("up", "--port", "0", *options, env=env)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(READY_S):
            while not (lines and lines[-1].startswith("ready ")):
                line = (await process.stdout.readline()).decode()
                assert line, f"it ended before it was ready: {lines}"
                lines.append(line.rstrip("\n"))
        yield Up(process, lines[-1].removeprefix("ready "), lines)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(READY_S):
                await process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """A first start that is over: what it said, and what commands said meanwhile."""

    data_dir: Path
    url: str
    lines: list[str]
    healthy: Outcome
    listed: Outcome
    second: Outcome
    ended: tuple[int, float]


@pytest_asyncio.fixture(scope="module")
async def visited(tmp_path_factory: pytest.TempPathFactory) -> Visited:
    """The first start of a data directory, until it was interrupted."""
    data_dir = tmp_path_factory.mktemp("up") / "data"
    env = environment(data_dir, ws_port="0", log_level="error")
    async with up(env) as first:
        return Visited(
            data_dir=data_dir,
            url=first.url,
            lines=first.lines,
            healthy=await run("health", env=env),
            listed=await run("job", "list", "--json", env=env),
            second=await run("up", "--port", "0", env=env),
            ended=await first.stop(signal.SIGINT),
        )


@pytest.mark.slow
async def test_up_is_ready_refuses_company_and_stops(visited: Visited) -> None:
    [told] = [line for line in visited.lines if "password" in line]
    code, took = visited.ended

    assert (0, f"ready {visited.url}\n") == (visited.healthy.code, visited.healthy.out)
    assert (0, []) == (visited.listed.code, json.loads(visited.listed.out))
    assert 1 == visited.second.code
    assert visited.url in visited.second.err
    assert 0 == code
    assert took < STOPPED_S
    assert told.startswith("sign in as admin@localhost with the password ")


@asynccontextmanager
async def steering(data_dir: Path) -> AsyncIterator[Context]:
    """An administrator's operation in a running `up`, from outside of it."""
    addresses = embedded.running(data_dir)
    assert addresses is not None
    database, redis = Database.connect(addresses.database_url), connect(addresses.redis_url)
    own = services_over(database, redis, data_dir)
    async with database.transaction(DEFAULT_TENANT) as tx:
        admin = await users.add(
            tx, tenant=DEFAULT_TENANT, email="a@up.test", name="", role=Role.ADMIN, password_hash=None
        )
    try:
        yield context_of(own, admin)
    finally:
        await own.snapshots.close()
        await redis.aclose()
        await database.close()


async def _settled(context: Context, *, renewed: int) -> dict[str, Process]:
    async def seen() -> list[Process]:
        async with context.services.database.system() as tx:
            return await services.everything(tx)

    found = await eventually(
        seen,
        lambda there: bool(there) and all(one.settled and one.renewed == renewed for one in there),
        within_s=READY_S,
        every_s=0.1,
    )
    return {one.name: one for one in found}


@pytest.mark.slow
async def test_up_again_is_restarted_and_shut_down_through_its_database(visited: Visited) -> None:
    """It knows its administrator; the API comes last, under the same address; everything ends when that is desired."""
    data_dir = visited.data_dir
    assert announced_url(data_dir) is None
    async with up(environment(data_dir, ws_port="0", log_level="error")) as whole, steering(data_dir) as admin:
        killed = (await _settled(admin, renewed=0))["websocket"].pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: _is_back(admin, "websocket", killed), within_s=READY_S)
        before = await _settled(admin, renewed=0)

        answered = await act(admin, "system.restart", delay_seconds=0)
        after = await _settled(admin, renewed=1)
        async with httpx.AsyncClient(trust_env=False) as http:
            await until(lambda: _answers(http, whole.url), within_s=READY_S)
        ended = await act(admin, "system.graceful_shutdown", scope="all", timeout_seconds=60)
        async with asyncio.timeout(READY_S):
            _, log = await whole.process.communicate()

    assert b"websocket has ended with status -9; starting it again" in log
    assert [] == [line for line in whole.lines if "password" in line]
    assert ["warmer", "worker-1", "websocket", "api"] == answered.components
    assert all(before[name].pid != after[name].pid for name in answered.components)
    assert (True, ["worker-1"]) == (ended.drained, ended.stopped)
    assert 0 == whole.process.returncode


async def _is_back(context: Context, name: str, before: int) -> bool:
    async with context.services.database.system() as tx:
        return any(one.name == name and one.pid not in (None, before) for one in await services.everything(tx))


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_taken_port_is_named_with_the_way_to_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = await run("up", "--port", str(port), env=environment(tmp_path, ws_port="0"))

    assert (1, "") == (outcome.code, outcome.out)
    assert str(port) in outcome.err
    assert "--port" in outcome.err
    assert not (tmp_path / "postgres").exists()


def test_port_0_finds_a_free_one() -> None:
    assert free_port("127.0.0.1", 0, "--port") > 0


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(PortTaken) as refused:
        free_port("192.0.2.1", 0, "--port")

    assert "192.0.2.1" in str(refused.value)


def test_nobody_is_announced_where_nobody_is_up(tmp_path: Path) -> None:
    """An address left behind by one that was killed is not believed."""
    (tmp_path / "address.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))

    assert announced_url(tmp_path) is None
