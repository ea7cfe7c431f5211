"""What operations on processes share: a supervisor beforehand, and telling how many processes are done meanwhile."""

import time
from typing import Final

from resolvers import processes
from resolvers.actions.contract import Payload, Work
from resolvers.context import Context

UP_S: Final = 15.0
"""What a started worker gets to be heard of, beside the time the old one takes."""


async def require_supervisor(context: Context, asked: Payload) -> None:
    """Make sure, before an operation is begun, that somebody would carry it out.

    Raises:
        NotControllable: there is no supervisor.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await processes.supervised(tx)


async def require_workers(context: Context, asked: Payload) -> None:
    """The same for one that is about the workers.

    Raises:
        NotControllable: there is no supervisor.
        Conflict: the service is stopped, so that no worker runs at all.
    """
    async with context.services.database.transaction(context.caller.tenant) as tx:
        await processes.supervised(tx)
        await processes.desired_workers(tx, all=True)


async def renewed(work: Work, names: list[str], since: float, *, patience_s: float, rolling: bool) -> processes.Outcome:
    """Wait until others have taken the place of processes, with `patience_s` for each of the old ones to end."""
    each_s = patience_s + UP_S
    return await followed(work, names, since, within_s=each_s * len(names) if rolling else each_s)


async def followed(work: Work, names: list[str], since: float, *, within_s: float) -> processes.Outcome:
    """Wait for processes as an operation does: telling how many are done."""
    while True:
        passed = time.monotonic() - since
        outcome = await processes.settled(
            work.services.database, names, since=since, within_s=min(passed + 1.0, within_s)
        )
        if outcome.converged or passed >= within_s:
            return outcome
        done = len(names) - sum(not processes.as_desired(one, outcome.heard) for one in outcome.processes.values())
        await work.report(done / max(1, len(names)), f"{done} of {len(names)} processes")
