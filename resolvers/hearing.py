"""Who hears of what: the permission behind each kind of event, wherever events are handed out.

It is the one with which the same can be read. Who holds it and yet sees only their own hears only of their own; of what
was done hears everything who may do everything, and others what concerns jobs, as they read it in the audit trail.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from db.events import Event, Kind
from guards.permissions import Permission
from resolvers.context import Context
from resolvers.queries.audit import ABOUT

HEARD_WITH: Final[Mapping[Kind, Permission]] = {
    Kind.JOB_CHANGED: Permission.JOB_READ,
    Kind.QUEUE_CHANGED: Permission.QUEUE_READ,
    Kind.SNAPSHOT_CHANGED: Permission.SNAPSHOT_READ,
    Kind.AGENT_CHANGED: Permission.AGENT_READ,
    Kind.UPLOAD_CHANGED: Permission.UPLOAD_READ,
    Kind.USER_CHANGED: Permission.ADMIN,
    Kind.SECURITY_ALERTED: Permission.EVENT_READ,
    Kind.OPERATION_CHANGED: Permission.OPERATION_READ,
    Kind.CONFIG_CHANGED: Permission.CONFIG_READ,
    Kind.WORKER_CHANGED: Permission.WORKER_READ,
    Kind.ACTION_EXECUTED: Permission.AUDIT_READ,
    Kind.LOG_APPENDED: Permission.LOG_READ,
}

OWNED: Final = frozenset({Kind.JOB_CHANGED, Kind.UPLOAD_CHANGED, Kind.OPERATION_CHANGED})
"""Of these, callers who see only their own hear only of their own."""


def audible(context: Context, kinds: Collection[Kind] | None = None) -> frozenset[Kind]:
    """The kinds that a caller hears of.

    Args:
        kinds: those that are asked for; none for all there are.

    Raises:
        Forbidden: one of those asked for is none that the caller may hear of.
    """
    if not kinds:
        return frozenset(kind for kind, permission in HEARD_WITH.items() if context.may(permission))
    for kind in kinds:
        context.require(HEARD_WITH[kind])
    return frozenset(kinds)


def of_concern(context: Context) -> Callable[[Event], bool]:
    """Whether an event of an audible kind is one that the caller may hear of."""
    everything = context.may(Permission.ADMIN)

    def concerns(event: Event) -> bool:
        if event.kind is not Kind.ACTION_EXECUTED or everything:
            return True
        return str(event.payload["action"]).startswith(f"{ABOUT}.")

    return concerns
