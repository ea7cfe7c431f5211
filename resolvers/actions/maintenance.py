"""What stops the whole house: maintenance, which refuses new work, and the emergency stop, which ends all of it."""

from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from db import queues as rows
from db.rows import Row
from resolvers import house, queues
from resolvers.actions.contract import KEPT, Action, Call, Payload, View, action
from resolvers.house import Maintained

Told = Annotated[str, Meta(max_length=1000)]
"""What people are told meanwhile."""

Minutes = Annotated[int, Meta(ge=1, le=1440)]
"""A minute to a day."""

CONFIRMED: Final = "EMERGENCY STOP"


class MaintenanceToggleInput(Payload, frozen=True, kw_only=True):
    """Whether, for how long, and what people are told."""

    enable: bool | None = None
    """Left out, it is turned to what it is not."""

    message: Told | None = None
    duration_minutes: Minutes | None = None
    """After which it ends by itself; left out, somebody has to end it."""


@action("system.maintenance_mode_toggle", View.SYSTEM_CONTROLS, per_minute=5)
async def maintenance_mode_toggle(call: Call[Maintained], asked: MaintenanceToggleInput) -> Maintained:
    """Have the system take no new jobs and no uploads, for all tenants, or take them again; jobs that run go on."""
    return await maintained(call, asked.enable, asked.message, asked.duration_minutes)


class MaintenanceInput(Payload, frozen=True, kw_only=True):
    """Whether, for how long, and what people are told."""

    enable: Annotated[bool, Meta(extra={"words": {"enter": True, "exit": False}})]
    message: Told | None = None
    duration_minutes: Minutes | None = None
    """After which it ends by itself; left out, somebody has to end it."""


@action("system.maintenance", View.EXTRA, per_minute=5, aliases={"action": "enable"})
async def maintenance(call: Call[Maintained], asked: MaintenanceInput) -> Maintained:
    """Have the system take no new jobs and no uploads, for all tenants, or take them again; jobs that run go on."""
    return await maintained(call, asked.enable, asked.message, asked.duration_minutes)


async def maintained(
    call: Call[Maintained], enable: bool | None, message: str | None, duration_minutes: int | None
) -> Maintained:
    """What three actions do, each under a name of its own."""
    lasting = None if duration_minutes is None else timedelta(minutes=duration_minutes)
    return await house.maintain(call.context, call.tx, enable, message=message, lasting=lasting)


class EmergencyStopInput(Payload, frozen=True, kw_only=True):
    """Why, and that it is meant."""

    reason: Annotated[str, Meta(min_length=3, max_length=500)]
    confirm: Annotated[str, Meta(pattern=f"^{CONFIRMED}$", extra=KEPT)]
    """The words EMERGENCY STOP."""

    dry_run: bool = False
    """Change nothing, and say what would be stopped."""

    lift: bool = False
    """End it again instead: let the queues of all tenants run that it stopped."""


class EmergencyStopped(Row, frozen=True):
    """What was stopped, and how it is ended."""

    queue_paused: bool
    jobs_aborted: int
    """Jobs that ran, of all tenants; their workers find out within a second and can write nothing more."""

    refusing_new: bool
    queues: int
    """Tenants whose queue was stopped, or let run again."""

    dry_run: bool
    ends_with: str
    """What has to be done for work to go on."""

    acked_workers: int | None = None
    """How many workers have said within a second that they know; all of them are bound whether they say so or not."""

    total_workers: int | None = None
    """How many there are."""


_ENDS_WITH: Final = (
    "queue.resume lets the queue of its caller's tenant run again, this action with lift those of all tenants; "
    "what was cancelled has to be retried"
)


@action("system.emergency_stop", View.SYSTEM_CONTROLS, per_minute=5, destructive=True)
async def emergency_stop(call: Call[EmergencyStopped], asked: EmergencyStopInput) -> EmergencyStopped:
    """Stop all work of all tenants: no job is begun or taken on, and those that run are cancelled; the API stays up."""
    context, tx = call.context, call.tx
    if asked.lift:
        count = await queues.resume_stopped(context, tx, dry_run=asked.dry_run)
        stopped = queues.Stopped(count, 0)
    else:
        stopped = await queues.stop_all(context, tx, reason=asked.reason, dry_run=asked.dry_run)
    state = await rows.state(tx)

    async def heard(result: EmergencyStopped) -> EmergencyStopped:
        assert state is not None
        known = await queues.heard(context, state)
        return msgspec.structs.replace(result, acked_workers=known.of_them, total_workers=known.workers)

    if not asked.dry_run and state is not None:
        call.afterwards(heard)
    return EmergencyStopped(
        queue_paused=state is not None and state.paused,
        jobs_aborted=stopped.jobs,
        refusing_new=state is not None and state.refusing,
        queues=stopped.queues,
        dry_run=asked.dry_run,
        ends_with=_ENDS_WITH,
    )


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (emergency_stop, maintenance_mode_toggle, maintenance)
