"""Commands that run something: everything at once, one process of it, its migrations, a look at its health."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from agentos.cli.places import address_of, located, opened, reachable, settings_with
from agentos.cli.printing import Failed, say

Supervised = Annotated[bool, Parameter(negative="", show=False)]
Unseen = Annotated[str | None, Parameter(show=False)]
UnseenOnly = Annotated[Literal["warmer"] | None, Parameter(show=False)]


def up(
    *,
    demo: Annotated[bool, Parameter(negative="")] = False,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    data_dir: Path | None = None,
) -> None:
    """Start everything: stores, migrations, API and workers; print `ready URL` and run until Ctrl-C.

    Args:
        demo: When there are no jobs yet, seed a little history and send one generated video through the agents.
        host: Address to listen on; default AGENTOS_HOST, else 127.0.0.1.
        port: Port to listen on, 0 for any that is free; default AGENTOS_PORT, else 8001.
        workers: Worker processes; default AGENTOS_WORKERS, else 1.
        data_dir: Where stores, files and keys are kept; default AGENTOS_DATA_DIR, else .agentos.
    """
    from agentos import up as whole

    settings = settings_with(host=host, port=port, workers=workers, data_dir=data_dir)
    try:
        asyncio.run(whole.up(settings, told=whole.Told(say), demo=demo))
    except asyncio.CancelledError:
        raise Failed("stopped before it was ready") from None


def serve(*, host: str | None = None, port: int | None = None, supervised: Supervised = False) -> int:
    """Serve the API alone; stores must be running and migrated.

    Args:
        host: Address to listen on; default AGENTOS_HOST, else 127.0.0.1.
        port: Port to listen on; default AGENTOS_PORT, else 8001.
        supervised: The standard input is a lifeline to a supervisor.
    """
    # First of all: whoever has set nothing is told before everything is loaded.
    settings = located(settings_with(host=host, port=port))
    import uvloop

    from agentos import api

    return uvloop.run(api.serve(settings, supervised=supervised))


def websocket(*, host: str | None = None, supervised: Supervised = False) -> int:
    """Serve the legacy WebSocket alone, on AGENTOS_WS_PORT; stores must be running and migrated.

    Args:
        host: Address to listen on; default AGENTOS_HOST, else 127.0.0.1.
        supervised: The standard input is a lifeline to a supervisor.
    """
    settings = located(settings_with(host=host))
    import uvloop

    from agentos import websocket as process

    return uvloop.run(process.serve(settings, supervised=supervised))


async def worker(
    *,
    concurrency: int | None = None,
    queue: list[str] | None = None,
    job_timeout: int | None = None,
    name: Unseen = None,
    only: UnseenOnly = None,
    supervised: Supervised = False,
) -> None:
    """Run a worker alone; stores must be running and migrated.

    Args:
        concurrency: Jobs at once; default AGENTOS_WORKER_CONCURRENCY, else 1.
        queue: From which queue jobs are taken, once for each; default the queue of all jobs without a profile.
        job_timeout: Seconds a job may be at work; default as long as its steps may take.
        name: What the supervisor calls it.
        only: Be the warmer of the snapshot instead.
        supervised: The standard input is a lifeline to a supervisor.
    """
    settings = located(settings_with(worker_concurrency=concurrency))
    if only == "warmer":
        from agentos import warmer

        await warmer.warm(settings, supervised=supervised)
        return
    from agentos import worker as process

    usual = process.Kind()
    kind = process.Kind(name=name, queues=tuple(queue or usual.queues), job_timeout_s=job_timeout)
    await process.work(settings, kind, supervised=supervised)


async def migrate(*, check: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Bring the database to the revision of this code, with the default tenant and its agents; print the revision.

    Under a lock: of several that start at once, one migrates and the others wait.

    Args:
        check: Change nothing; fail when the database is at another revision.
    """
    from agentos import first_run
    from db.migrations import runner

    async with reachable(settings_with()) as addresses:
        if not check:
            revision = await runner.upgrade(addresses.database_url)
            async with opened(addresses) as database:
                await first_run.prepare(database)
            say(revision)
            return
        found, needed = await runner.current(addresses.database_url), runner.head()
        say(found or "none")
        if found != needed:
            raise Failed(f"this code needs revision {needed}", "Run `python -m agentos migrate`.")


def health(*, url: str | None = None) -> None:
    """Ask the API whether it is ready; what an image's health check calls.

    Args:
        url: Where the API answers; default that of the running AgentOS in the data directory, else of the settings.
    """
    from agentos import readiness

    base = address_of(settings_with(), url)
    try:
        status, said = readiness.asked(base, timeout_s=2.5)
    except readiness.Silent as error:
        raise Failed(f"{base} does not answer: {error}", "Is it running? `python -m agentos up` starts it.") from error
    if status != 200:
        raise Failed(f"{base} is not ready: {said.strip()[:300]}")
    say(f"ready {base}")


commands: Final[dict[str, Callable[..., Any]]] = {
    "up": up,
    "serve": serve,
    "websocket": websocket,
    "worker": worker,
    "migrate": migrate,
    "health": health,
}
