"""The command that writes a history that never was."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from agentos.cli.places import opened, reachable, require_tenant, settings_with
from agentos.cli.printing import AsJson, say, show_json, warn

Count = Annotated[int, Parameter(validator=Number(gte=0, lte=10_000_000))]


async def seed(
    *,
    jobs: Count = 25,
    events: Count = 100,
    clean: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 7,
    tenant: str = "default",
    now: datetime | None = None,
    as_json: AsJson = False,
) -> None:
    """Write jobs in every status over the last thirty days, with steps, clips, uploads, events, logs and users.

    The same seed and moment give the same rows. Nothing seeded is ever started by a worker.

    Args:
        jobs: How many jobs.
        events: How many system events, and as many logs.
        clean: First remove all of the tenant's jobs, clips, events and logs, also real ones, without asking; users,
            agents and configuration stay.
        seed: Which history.
        tenant: Whose; `tenant add` makes one.
        now: When it ends, ISO 8601; default this moment.
        as_json: Print JSON.
    """
    from datetime import UTC

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from db import keys, redis
    from db import seed as history
    from workers.agents.roster import DEFAULT_CHAIN

    moment = datetime.now(UTC) if now is None else now.astimezone(UTC)
    async with reachable(settings_with()) as addresses, opened(addresses) as database:
        async with database.system() as tx:
            await require_tenant(tx, tenant)
        if clean:
            warn(f"removing every job of the tenant {tenant}, also those that were not seeded")
        removed = await history.clear(database, tenant) if clean else None
        columns = (TextColumn("seeding jobs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        screen = Console(stderr=True)
        bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
        task = bar.add_task("", total=jobs)
        try:
            with bar:
                made = await history.fill(
                    database,
                    tenant,
                    jobs=jobs,
                    events=events,
                    chain=DEFAULT_CHAIN,
                    seed=seed,
                    now=moment,
                    progress=lambda done: bar.update(task, completed=done),
                )
        except BaseException:
            written = int(bar.tasks[task].completed)
            warn(
                f"at least {written} of {jobs} jobs were written before it ended; "
                f"`seed --clean --tenant {tenant}` removes all jobs of that tenant and begins anew"
            )
            raise
        # What is cached shows a past that is no more; without Redis nothing is cached.
        try:
            async with redis.connect(addresses.redis_url, answer_timeout_s=2) as cache:
                await cache.delete(keys.snapshot(tenant))
        except redis.REDIS_AWAY:
            say("Redis does not answer: the console may show the old numbers for some seconds")
    counts = {name: getattr(made, name) for name in made.__struct_fields__}
    if as_json:
        show_json({"removed_jobs": removed, **counts, "now": moment.isoformat()})
        return
    if removed is not None:
        say(f"removed {removed} jobs and what belonged to them")
    say("seeded " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))


commands: Final[dict[str, Callable[..., Any]]] = {"seed": seed}
