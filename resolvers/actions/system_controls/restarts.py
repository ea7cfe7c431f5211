"""The system started again, with its present or another configuration, and shut down."""

import time
from enum import StrEnum
from typing import Annotated, Any, Final

from msgspec import Meta

from db import configuration, jobs, services, tunables, workers
from db.configuration import Configuration
from db.database import Transaction
from db.jobs import FINISHED
from db.models.control import Wish
from db.rows import Row
from db.services import Service
from guards.breakers import Dependency
from guards.errors import NotFound
from resolvers import processes, settings
from resolvers.actions.contract import Action, Call, Payload, View, Work, action, operation
from resolvers.actions.supervising import UP_S, followed, require_supervisor

FINISH_S: Final = 10
"""What workers get to finish their jobs; what is not finished then, another one goes on with."""

ANSWER_FIRST_S: Final = 2.0
"""How long the API stays after it has said that everything ends."""


class SystemRestartInput(Payload, frozen=True, kw_only=True):
    """When to begin."""

    delay_seconds: Annotated[int, Meta(ge=0, le=60)] = 1


class SystemRestarted(Row, frozen=True, kw_only=True):
    """What is going to be started again."""

    scheduled: bool
    components: list[str]
    """The processes, in the order of their turns; the API comes last."""

    eta_s: int
    """Seconds until it begins; how long each process takes is not known beforehand."""


@action("system.restart", View.SYSTEM_CONTROLS, per_minute=5, destructive=True, depends_on=Dependency.SUPERVISOR)
async def system_restart(call: Call[SystemRestarted], asked: SystemRestartInput) -> SystemRestarted:
    """Start everything again, one process after the other: warmer, workers, and the API, which is away for a moment.

    Raises:
        NotControllable: there is no supervisor that could.
    """
    await processes.supervised(call.tx)
    names = await renew_everything(call.tx, delay_s=asked.delay_seconds)
    return SystemRestarted(scheduled=bool(names), components=names, eta_s=asked.delay_seconds)


class SystemRestartWithConfigInput(Payload, frozen=True, kw_only=True):
    """With which configuration."""

    config_version: Annotated[int, Meta(ge=1)] | None = None
    """An older version is put in force again, as the next one; left out, the present one is kept."""


class SystemReconfigured(Row, frozen=True, kw_only=True):
    """What is going to be started again, and with which configuration."""

    config_version: int
    """In force now; 0 when nothing was ever set."""

    changed_keys: list[str]
    """What is set otherwise than before the call."""

    restarted: list[str]
    """The processes, in the order of their turns."""


@action(
    "system.restart_with_config",
    View.SYSTEM_CONTROLS,
    per_minute=5,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
)
async def system_restart_with_config(
    call: Call[SystemReconfigured], asked: SystemRestartWithConfigInput
) -> SystemReconfigured:
    """Check the configuration, put an older version in force if one is named, and start everything again.

    Raises:
        NotControllable: there is no supervisor that could.
        NotFound: there is no such version.
        BadInput: a setting of it cannot have its value; nothing is restarted.
    """
    await processes.supervised(call.tx)
    present = await configuration.held(call.tx)
    wanted = await _version(call.tx, asked.config_version) if asked.config_version is not None else present
    saved = await settings.saved(
        call.context, call.tx, _over(present, wanted), reason=_reason(asked.config_version), expected=None
    )
    names = await renew_everything(call.tx, delay_s=1)
    return SystemReconfigured(
        config_version=saved.version, changed_keys=[change.name for change in saved.changes], restarted=names
    )


class ShutdownScope(StrEnum):
    """How much is shut down."""

    WORKERS = "workers"
    ALL = "all"
    """Everything, the API and embedded stores included; only who started it can start it again."""


class SystemGracefulShutdownInput(Payload, frozen=True, kw_only=True):
    """How much, and how long jobs get."""

    scope: ShutdownScope = ShutdownScope.WORKERS
    timeout_seconds: Annotated[int, Meta(ge=5, le=600)] = 60
    """What jobs get to be finished; those that are not, are put back."""


class SystemShutDown(Row, frozen=True, kw_only=True):
    """What has ended."""

    drained: bool
    """Whether every job that was at work has been finished."""

    jobs_finished: int
    jobs_remaining: int
    """Those that were put back; they wait for the next worker."""

    stopped: list[str]
    """Processes that are gone; with scope `all`, the others follow two seconds later."""


@operation(
    "system.graceful_shutdown",
    View.SYSTEM_CONTROLS,
    per_minute=5,
    destructive=True,
    depends_on=Dependency.SUPERVISOR,
    prepare=require_supervisor,
)
async def system_graceful_shutdown(work: Work, asked: SystemGracefulShutdownInput) -> SystemShutDown:
    """Have workers take no more jobs, wait for those at work, and stop them; with scope `all`, then everything.

    Raises:
        NotControllable: there is no supervisor that could.
    """
    began = time.monotonic()
    async with work.services.database.transaction(work.caller.tenant) as tx:
        await processes.supervised(tx)
        names = [one.name for one in await services.of_service(tx, Service.WORKERS) if one.desired is Wish.RUNNING]
        held = [job_id for one in await workers.on_duty(tx) if one.name in names for job_id in one.current_jobs]
        await services.switch(tx, Service.WORKERS, Wish.STOPPED, patience_s=asked.timeout_seconds)
    outcome = await followed(work, names, began, within_s=asked.timeout_seconds + UP_S)
    async with work.services.database.system() as tx:
        finished = sum(job.status in FINISHED for job in await jobs.by_ids(tx, held))
        if asked.scope is ShutdownScope.ALL:
            await services.end_all(tx, delay_s=ANSWER_FIRST_S)
    return SystemShutDown(
        drained=outcome.converged and finished == len(held),
        jobs_finished=finished,
        jobs_remaining=len(held) - finished,
        stopped=[one.name for one in outcome.processes.values() if one.pid is None],
    )


async def renew_everything(tx: Transaction, *, delay_s: int) -> list[str]:
    """Have every process that runs started again after a while; their names in the order of their turns."""
    running = sorted((one for one in await services.everything(tx) if one.wanted), key=lambda one: one.turn)
    names = [one.name for one in running]
    await services.renew(tx, names, patience_s=FINISH_S, delay_s=delay_s)
    return names


async def _version(tx: Transaction, number: int) -> Configuration:
    found = await configuration.by_version(tx, number)
    if found is None:
        raise NotFound(f"there is no version {number} of the configuration")
    return found


def _over(present: Configuration | None, wanted: Configuration | None) -> dict[str, Any]:
    """What has to be set so that every setting is as in a version; what that has not set, gets its default back."""
    before = {} if present is None else present.settings
    after = {} if wanted is None else wanted.settings
    return {name: after.get(name) for name in tunables.BY_NAME if name in before or name in after}


def _reason(version: int | None) -> str:
    return "" if version is None else f"restarted with version {version}"


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    system_restart,
    system_graceful_shutdown,
    system_restart_with_config,
)
