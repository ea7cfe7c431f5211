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
from typing import Any

import pytest
import pytest_asyncio

from agentos import demo, embedded, readiness
from agentos.client import Client, Job, Refused
from agentos.ports import PortTaken, free_port
from agentos.settings import Settings
from agentos.up import Running
from agentos.whereabouts import announced_url
from db import seed, services, users
from db.database import Database
from db.models.identity import DEFAULT_TENANT, Role
from db.redis import Redis, connect
from db.services import Process
from resolvers.context import Context
from tests.acting import act
from tests.agentos.commands import READY_S, Outcome, environment, run, started
from tests.agentos.test_websocket import answers, opened
from tests.agentos.transports.legacy import heard
from tests.uploading import context_of, services_over
from tests.waiting import PATIENCE_S, eventually, until

STOPPED_S = 20
"""Four times the five seconds that are promised: the machine that tests may be busy with others, or pause."""

WHOLE_WAY_S = 300
"""How long the demo may take, from its seed to clips that were looked at."""


@dataclass(slots=True)
class Up:
    """A running `up`."""

    process: asyncio.subprocess.Process
    url: str
    lines: list[str] = field(default_factory=list)

    async def stop(self) -> tuple[Outcome, float]:
        """End it as systemd and Docker do; how it ended, with what nobody has read yet, and in how many seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(READY_S):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Outcome(self.process.returncode, out.decode(), err.decode()), time.monotonic() - began


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
    """A first start with a demo that is over: what it said, and what a client and commands found meanwhile."""

    data_dir: Path
    url: str
    lines: list[str]
    job_id: str
    states: list[Job]
    looks: list[demo.Seen]
    cancelled: str
    """The code with which it was refused."""

    healthy: Outcome
    listed: Outcome
    shown: Outcome
    again: Outcome
    """`demo --first` where there are jobs already."""

    second: Outcome
    """Another `up` beside it."""

    ended: tuple[Outcome, float]


@asynccontextmanager
async def stores_of(data_dir: Path) -> AsyncIterator[tuple[Database, Redis]]:
    """The stores of a running `up`, from outside of it."""
    addresses = embedded.running(data_dir)
    assert addresses is not None
    database, redis = Database.connect(addresses.database_url), connect(addresses.redis_url)
    try:
        yield database, redis
    finally:
        await redis.aclose()
        await database.close()


@pytest_asyncio.fixture(scope="module")
async def visited(tmp_path_factory: pytest.TempPathFactory) -> Visited:
    """The first start of a data directory, whose jobs are gone again once it was ended."""
    data_dir = tmp_path_factory.mktemp("up") / "data"
    env = environment(data_dir, ws_port="0", log_level="error")
    async with up(env, "--demo") as first, asyncio.timeout(WHOLE_WAY_S):
        assert first.process.stdout is not None
        line = ""
        while "through the agents as job " not in line:
            line = (await first.process.stdout.readline()).decode()
            assert line
        job_id = line.split()[-1]
        token = (await run("token", "--user", "admin@localhost", env=env)).out.strip()
        async with Client(first.url, lambda: token) as client:
            states = [job async for job in client.follow(job_id)]
            looks = [await demo.seen(client, clip) for clip in states[-1].clips]
            with pytest.raises(Refused) as refused:
                await client.cancel(job_id)
        # Alone: it gives an API little time, which is busy when four processes are started beside it.
        healthy = await eventually(
            lambda: run("health", env=env), lambda outcome: outcome.code == 0, within_s=READY_S, every_s=0.1
        )
        listed, shown, again, second = await asyncio.gather(
            run("job", "list", "--most", "100", "--json", env=env),
            run("job", "show", job_id, "--json", env=env),
            run("demo", "--first", env=env),
            run("up", "--port", "0", env=env),
        )
        async with stores_of(data_dir) as (database, _):
            await seed.clear(database, DEFAULT_TENANT)
        return Visited(
            data_dir=data_dir,
            url=first.url,
            lines=first.lines,
            job_id=job_id,
            states=states,
            looks=looks,
            cancelled=refused.value.code,
            healthy=healthy,
            listed=listed,
            shown=shown,
            again=again,
            second=second,
            ended=await first.stop(),
        )


@pytest.mark.slow
async def test_up_is_ready_refuses_company_and_stops(visited: Visited) -> None:
    [told] = [line for line in visited.lines if "password" in line]
    ended, took = visited.ended

    assert (0, f"ready {visited.url}\n") == (visited.healthy.code, visited.healthy.out)
    assert 1 == visited.second.code
    assert visited.url in visited.second.err
    assert (0, "stopped", "") == (ended.code, ended.out.splitlines()[-1], ended.err)
    assert took < STOPPED_S
    assert told.startswith("sign in as admin@localhost with the password ")


@pytest.mark.slow
async def test_an_empty_system_gets_a_history_and_a_video_whose_clips_decode(visited: Visited) -> None:
    """The whole way from nothing to clips, followed by a client as anybody could write one."""
    states, looks = visited.states, visited.looks

    assert "COMPLETED" == states[-1].status
    assert {"COMPLETED"} == {step.status for step in states[-1].steps} - {"SKIPPED"}
    assert sorted(job.progress for job in states) == [job.progress for job in states]
    assert len(looks) >= demo.FEWEST_CLIPS
    assert [] == [look.trouble for look in looks if not look.frames]
    assert "CONFLICT" == visited.cancelled
    assert (0, 26) == (visited.listed.code, len(json.loads(visited.listed.out)))
    assert (0, "") == (visited.again.code, visited.again.out)
    assert visited.job_id == json.loads(visited.shown.out)["id"]


@asynccontextmanager
async def steering(data_dir: Path) -> AsyncIterator[Context]:
    """An administrator's operation in a running `up`, from outside of it."""
    async with stores_of(data_dir) as (database, redis):
        async with database.transaction(DEFAULT_TENANT) as tx:
            admin = await users.add(
                tx, tenant=DEFAULT_TENANT, email="a@up.test", name="", role=Role.ADMIN, password_hash=None
            )
        own = services_over(database, redis, data_dir)
        try:
            yield context_of(own, admin)
        finally:
            await own.snapshots.close()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """A second start that is over: what became of what was desired while it ran."""

    lines: list[str]
    log: bytes
    code: int | None
    before: dict[str, Process]
    after: dict[str, Process]
    """The processes once everything was restarted."""

    restarted: Any
    told: list[dict[str, Any]]
    """What followers of the legacy WebSocket, and of the API's, heard of a change."""

    websocket: Any
    """Its own restart."""

    farewell: int
    looked_at: Any
    listed: Outcome
    shut_down: Any


@pytest_asyncio.fixture(scope="module")
async def steered(visited: Visited) -> Steered:
    """The second start of that data directory, until it was shut down through its database."""
    env = environment(visited.data_dir, ws_port="0", log_level="error")
    async with up(env) as whole, steering(visited.data_dir) as admin:
        killed = (await _settled(admin, renewed=0))["websocket"].pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: _is_back(admin, "websocket", killed), within_s=READY_S)
        before = await _settled(admin, renewed=0)

        restarted = await act(admin, "system.restart", delay_seconds=0)
        after = await _settled(admin, renewed=1)
        await until(lambda: _is_ready(whole.url), within_s=READY_S)

        token = (await run("token", "--user", "admin@localhost", env=env)).out.strip()
        [url] = [line.rpartition(" ")[2] for line in whole.lines if "ws://" in line]
        await until(lambda: answers(url, token), within_s=READY_S)
        at_api = opened(whole.url.replace("http", "ws") + "/ws", token)
        async with opened(url, token) as client, at_api as other:
            for one in (client, other):
                await one.say({"type": "subscribe", "channel": "admin_updates"})
                await heard(one, "subscription_confirmed")
            assert await act(admin, "queue.pause", reason="lunch") is not None
            told = [await heard(one, "admin_data_update") for one in (client, other)]
            websocket = await act(admin, "service.restart", service_id="websocket")
            farewell = await client.ended()
        looked_at = await act(admin, "service.health_check", service_id="websocket-server")
        await until(lambda: answers(url, token), within_s=READY_S)

        listed = await run("job", "list", "--json", env=env)
        shut_down = await act(admin, "system.graceful_shutdown", scope="all", timeout_seconds=60)
        async with asyncio.timeout(READY_S):
            _, log = await whole.process.communicate()
    return Steered(
        lines=whole.lines,
        log=log,
        code=whole.process.returncode,
        before=before,
        after=after,
        restarted=restarted,
        told=told,
        websocket=websocket,
        farewell=farewell,
        looked_at=looked_at,
        listed=listed,
        shut_down=shut_down,
    )


@pytest.mark.slow
async def test_nobody_is_announced_once_it_has_stopped(visited: Visited) -> None:
    assert announced_url(visited.data_dir) is None


@pytest.mark.slow
async def test_up_again_is_restarted_and_shut_down_through_its_database(steered: Steered) -> None:
    """It knows its administrator; the API comes last, under the same address; everything ends when that is desired."""
    names = steered.restarted.components

    assert b"websocket has ended with status -9; starting it again" in steered.log
    assert [] == [line for line in steered.lines if "password" in line]
    assert ["warmer", "worker-1", "websocket", "api"] == names
    assert all(steered.before[name].pid != steered.after[name].pid for name in names)
    assert (0, []) == (steered.listed.code, json.loads(steered.listed.out)), "without --demo nothing is made up"
    assert (True, ["worker-1"]) == (steered.shut_down.drained, steered.shut_down.stopped)
    assert 0 == steered.code


@pytest.mark.slow
async def test_up_serves_the_legacy_websocket_which_is_restarted_like_any_service(steered: Steered) -> None:
    """A follower is told of a change within seconds; after a restart it finds the same port again."""
    restarted = steered.websocket
    assert [True, True] == ["agents_workers" in message["data"] for message in steered.told]
    assert ("websocket", True, "running") == (restarted.service_id, restarted.converged, restarted.state)
    assert 1012 == steered.farewell
    assert [("websocket", "running", 1)] == [
        (one.service_id, one.state, one.processes) for one in steered.looked_at.services
    ]


async def _is_back(context: Context, name: str, before: int) -> bool:
    async with context.services.database.system() as tx:
        return any(one.name == name and one.pid not in (None, before) for one in await services.everything(tx))


async def _is_ready(url: str) -> bool:
    try:
        status, _ = await asyncio.to_thread(readiness.asked, url, timeout_s=PATIENCE_S)
    except readiness.Silent:
        return False
    return status == 200


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


@pytest.mark.parametrize(
    ("host", "written"),
    [("0.0.0.0", "127.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("::", "[::1]"), ("2001:db8::1", "[2001:db8::1]")],
)
def test_it_asks_itself_where_it_listens(host: str, written: str) -> None:
    addresses = embedded.Addresses(database_url="", redis_url="")
    running = Running(Settings(host=host), addresses, port=8001, ws_port=8765)

    assert (f"http://{written}:8001", f"ws://{written}:8765") == (running.url, running.ws_url)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(PortTaken) as refused:
        free_port("192.0.2.1", 0, "--port")

    assert "192.0.2.1" in str(refused.value)


def test_nobody_is_announced_where_nobody_is_up(tmp_path: Path) -> None:
    """An address left behind by one that was killed is not believed."""
    (tmp_path / "address.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": 1}))

    assert announced_url(tmp_path) is None
