"""`up`: everything of one AgentOS on this machine, from the stores to the workers, as one process tree.

The parent owns the stores and supervises the services; it serves nothing itself. Stopping takes less than five seconds:
services first, so that they can put back what they hold, then the stores.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agentos import first_run, readiness
from agentos.desires import Desires
from agentos.embedded import Addresses, InUse, Stores
from agentos.embedded.ownership import announced
from agentos.first_run import Account
from agentos.logs import Journal, configure
from agentos.ports import free_port, in_url
from agentos.settings import Settings, inherited
from agentos.supervisor import Program, Supervisor
from agentos.whereabouts import ADDRESS, announced_url
from db import profiles
from db.database import Database, Transaction
from db.migrations import runner
from db.services import NewProcess, Process, Service

GRACE_S: Final = 2.0
"""What services get to put back what they hold; the rest of the five seconds is for the stores."""

READY_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05


class NotReady(Exception):
    """The API was started and did not become ready; what it wrote says why."""


class Running:
    """One AgentOS while it is up."""

    def __init__(self, settings: Settings, addresses: Addresses, *, port: int, ws_port: int) -> None:
        self.settings = settings
        self.addresses = addresses
        self.port = port
        self.ws_port = ws_port
        self.started_at = datetime.now(UTC)

    @property
    def url(self) -> str:
        """Where the API answers on this machine."""
        return f"http://{self._host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where the legacy WebSocket answers on this machine."""
        return f"ws://{self._host}:{self.ws_port}"

    @property
    def _host(self) -> str:
        return in_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host))

    @property
    def environment(self) -> dict[str, str]:
        """What every process of this AgentOS is started with."""
        return inherited(
            database_url=self.addresses.database_url,
            redis_url=self.addresses.redis_url,
            data_dir=self.settings.data_dir.resolve(),
            host=self.settings.host,
            port=self.port,
            ws_port=self.ws_port,
            workers=self.settings.workers,
            started_at=self.started_at.isoformat(),
        )

    async def desired(self, tx: Transaction) -> list[NewProcess]:
        """What runs as long as nobody desires otherwise: everything, and a worker for every profile."""
        serving = [
            NewProcess(
                name=f"{profile.name}-1",
                service=Service.WORKERS,
                settings=profile.settings,
                profile=profile.name,
            )
            for profile in await profiles.everyone(tx)
        ]
        return [*self.standing(), *serving]

    def standing(self) -> list[NewProcess]:
        """The part of it that is known without a database."""
        workers = [
            NewProcess(name=f"worker-{number}", service=Service.WORKERS)
            for number in range(1, self.settings.workers + 1)
        ]
        warmer = NewProcess(name="warmer", service=Service.WARMER)
        websocket = NewProcess(name="websocket", service=Service.WEBSOCKET)
        return [NewProcess(name="api", service=Service.API), warmer, websocket, *workers]

    async def ready(self) -> None:
        """Wait until the API says that it is ready.

        Raises:
            NotReady: it does not within a minute.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                while True:
                    with contextlib.suppress(readiness.Silent):
                        status, _ = await asyncio.to_thread(readiness.asked, self.url, timeout_s=2)
                        if status == 200:
                            return
                    await asyncio.sleep(LOOK_EVERY_S)
        raise NotReady(f"the API did not become ready within {READY_WITHIN_S:.0f} s; its own words are above")


def program(desired: NewProcess | Process, *, renewal: int = 0) -> Program:
    """What a desired process is started as."""
    match Service(desired.service):
        case Service.API:
            argv = command("serve", "--supervised")
        case Service.WEBSOCKET:
            argv = command("websocket", "--supervised")
        case Service.WARMER:
            argv = command("worker", "--supervised", "--only", "warmer")
        case Service.WORKERS:
            argv = command("worker", "--supervised", "--name", desired.name, *_options(desired.settings))
    return Program(name=desired.name, service=desired.service, argv=argv, renewal=renewal)


def _options(settings: Mapping[str, Any]) -> Iterator[str]:
    if jobs := settings.get("max_jobs"):
        yield from ("--concurrency", str(jobs))
    if timeout := settings.get("job_timeout"):
        yield from ("--job-timeout", str(timeout))
    for queue in settings.get("queues") or ():
        yield from ("--queue", queue)


def command(*arguments: str) -> tuple[str, ...]:
    """The command line of another process of this AgentOS."""
    return (sys.executable, "-m", "agentos", *arguments)


@asynccontextmanager
async def stores_of(settings: Settings) -> AsyncIterator[Addresses]:
    """Own the data directory, with embedded stores for those whose address is not given.

    Raises:
        InUse: another AgentOS has the data directory.
        NotStarted: a store did not come up.
    """
    pair = Stores(settings.data_dir, postgres=settings.database_url is None, valkey=settings.redis_url is None)
    own = await pair.start()
    watch = asyncio.create_task(pair.watch(), name="watch stores")
    try:
        yield Addresses(
            database_url=settings.database_url or own.database_url, redis_url=settings.redis_url or own.redis_url
        )
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        # Shielded: servers outlive a cancelled owner otherwise.
        await asyncio.shield(pair.stop())


async def prepared(database_url: str) -> tuple[str, Account | None]:
    """Migrate and settle the database; its revision, and the first administrator if one was just made."""
    revision = await runner.upgrade(database_url)
    database = Database.connect(database_url, size=2, application="agentos up")
    try:
        await first_run.prepare(database)
        return revision, await first_run.first_admin(database)
    finally:
        await database.close()


async def up(settings: Settings, *, told: "Told", demo: bool = False) -> None:
    """Run everything until SIGTERM or Ctrl-C.

    Raises:
        InUse: another AgentOS has the data directory.
        PortTaken: the API's or the legacy WebSocket's port is somebody else's.
        NotReady: the API was started and does not answer.
    """
    refuse_company(settings.data_dir)
    port = free_port(settings.host, settings.port, "--port")
    ws_port = free_port(settings.host, settings.ws_port, "AGENTOS_WS_PORT =")
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    # Until the supervisor listens to signals itself, a signal ends the start and takes the stores down again.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, me.cancel)
    async with stores_of(settings) as addresses:
        here = Running(settings, addresses, port=port, ws_port=ws_port)
        told.stores(addresses)
        told.database(*await prepared(addresses.database_url))
        await _serve(here, told, demo=demo)


async def _serve(here: Running, told: "Told", *, demo: bool) -> None:
    configure(here.settings.log_level, here.settings.log_format)
    supervisor = Supervisor(map(program, here.standing()), environment=here.environment, grace_s=GRACE_S)
    database = Database.connect(here.addresses.database_url, size=2, application="agentos supervisor")
    journal = Journal(source="supervisor")
    desires = Desires(
        database, supervisor, first=here.desired, program=lambda process: program(process, renewal=process.renewals)
    )
    try:
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(_follow(here, told, demo=demo), name="ready"),
                group.create_task(desires.run(), name="desires"),
                group.create_task(journal.run(database), name="journal"),
            ]
            await supervisor.run()
            for task in beside:
                task.cancel()
        await desires.last()
    finally:
        (here.settings.data_dir / ADDRESS).unlink(missing_ok=True)
        await database.close()
    told.stopped()


async def _follow(here: Running, told: "Told", *, demo: bool) -> None:
    """Say that it is ready once it is, and only then do what may take longer."""
    await here.ready()
    address = {"url": here.url, "ws_url": here.ws_url, "pid": os.getpid()}
    (here.settings.data_dir / ADDRESS).write_text(json.dumps(address))
    told.ready(here)
    if demo:
        # A process of its own: drawing a video needs libraries that a supervisor should not carry for days.
        child = await asyncio.create_subprocess_exec(
            *command("demo", "--first"), env=here.environment, stdin=asyncio.subprocess.DEVNULL
        )
        try:
            await child.wait()
        finally:
            if child.returncode is None:
                child.terminate()
                await asyncio.shield(child.wait())


class Told:
    """What `up` says while it starts; the default says it in plain lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def stores(self, addresses: Addresses) -> None:
        """The stores answer."""
        self._say("stores are running")

    def database(self, revision: str, account: Account | None) -> None:
        """The database is as this code needs it."""
        self._say(f"database is at revision {revision}")
        if account is not None:
            self._say(f"sign in as {account.email} with the password {account.password}  (shown only this once)")

    def ready(self, here: Running) -> None:
        """The API answers."""
        self._say(f"older clients find their WebSocket at {here.ws_url}")
        self._say(f"ready {here.url}")
        if here.settings.data_dir != Settings.model_fields["data_dir"].default:
            self._say(f"for other commands: export AGENTOS_DATA_DIR={here.settings.data_dir.resolve()}")

    def stopped(self) -> None:
        """All services have ended."""
        self._say("stopped")


def refuse_company(data_dir: Path) -> None:
    """Say at once, and with its address, that another AgentOS is up here.

    Raises:
        InUse: one is.
    """
    holder = announced(data_dir.absolute())
    if holder is not None:
        where = announced_url(data_dir)
        raise InUse(
            f"another AgentOS (pid {holder.get('pid', 'unknown')}) has the data directory {data_dir}"
            + (f" and answers at {where}" if where else "")
            + "; stop that one first, or set AGENTOS_DATA_DIR to another folder"
        )
