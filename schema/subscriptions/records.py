"""What can be watched of what is written down: events of every kind, log lines, alerts, and actions that were done."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final

import strawberry
from strawberry.scalars import JSON

from db import logs
from db.audit import Filter as Recorded
from db.events import Event, Kind
from db.logs import Filter
from db.logs import LogLine as LogRow
from db.users import User as UserRow
from guards.audit import Outcome
from guards.errors import BadInput, UnknownAction
from guards.lockouts import AlertReason
from guards.permissions import Permission
from resolvers import hearing, log_streams
from resolvers.actions.catalogue import CATALOGUE
from resolvers.appending import TERMINATED
from resolvers.context import Context
from resolvers.hearing import OWNED
from resolvers.operations import ENDED
from resolvers.queries import audit, system
from resolvers.uploads import CHUNK
from schema import docs
from schema.access import Seen, unknown
from schema.fields import Info, described, nested, watches
from schema.inputs import LogFilter
from schema.subscriptions.changes import Change, Resync, watched
from schema.types.people import User
from schema.types.system import LogLine

BESIDE: Final = frozenset(
    {
        *Permission,
        *(CHUNK, TERMINATED, ENDED),
        *("session.open", "session.renew", "session.close"),
        *("user.add", "user.disable", "tenant.add", "audit.erase"),
    }
)
"""What the audit trail calls things that are no actions of the catalogue; what was refused, by its permission."""

EventKind = strawberry.enum(Kind, name="EventKind", description=docs.summary(Kind))
strawberry.enum(AlertReason, name="AlertReason", description=docs.summary(AlertReason))


@described
class EventTold(Change):
    """Something has happened."""

    @nested()
    def kind(self) -> EventKind:  # type: ignore[valid-type]  # made at run time
        """What kind of thing it was."""
        return self.event.kind

    @nested()
    def entity_id(self) -> str:
        """To what it happened."""
        return self.event.entity_id

    @nested(gives=JSON)
    def payload(self) -> dict[str, Any]:
        """More about it, of a shape that its kind has."""
        return self.event.payload

    @nested()
    def created_at(self) -> datetime:
        """When."""
        return self.event.created_at


@described
class LogChange(Change):
    """Lines were written to the log, all at once."""

    wanted: strawberry.Private[Filter]

    @nested(gives=list[LogLine])
    async def lines(self, info: Info) -> list[LogRow]:
        """Those of them that the filter selects and that were not cleared since, in the order of time."""
        return await system.log_lines(info.context, logs.mentioned(self.event), self.wanted)


@described
class SecurityAlert(Change):
    """Something that whoever looks after security should know of."""

    @nested()
    def alert(self) -> AlertReason:
        """What it is about."""
        return AlertReason(self.event.payload["reason"])

    @nested()
    def user_id(self) -> strawberry.ID | None:
        """Whose account it concerns; null when it is none."""
        by = self.event.owner_id
        return None if by is None else strawberry.ID(str(by))

    @nested()
    def created_at(self) -> datetime:
        """When."""
        return self.event.created_at


@described
class ActionExecution(Change):
    """An action was carried out, or was refused or failed; it is on record in the audit trail."""

    @nested()
    def action(self) -> str:
        """What was asked for, such as `job.cancel`."""
        return str(self.event.payload["action"])

    @nested()
    def target(self) -> str | None:
        """The id of what it was about; null when it was about nothing in particular."""
        target: str | None = self.event.payload["target"]
        return target

    @nested()
    def outcome(self) -> Outcome:
        """How it ended."""
        return Outcome(self.event.payload["outcome"])

    @nested()
    def code(self) -> str | None:
        """Why it was not done; null when it was."""
        code: str | None = self.event.payload["code"]
        return code

    @nested()
    def role(self) -> str | None:
        """What whoever asked for it was allowed to do; null when it was no person."""
        role: str | None = self.event.payload["role"]
        return role

    @nested(gives=User | None)
    async def actor(self, info: Info) -> UserRow | None:
        """Who asked for it; null when it was no person, or they were removed."""
        by = self.event.owner_id
        return None if by is None else await info.context.loaders.user.load(by)

    @nested()
    def created_at(self) -> datetime:
        """When."""
        return self.event.created_at


EventUpdate = Annotated[
    EventTold | Resync, strawberry.union("EventUpdate", description="Something has happened, or much has.")
]
LogUpdate = Annotated[
    LogChange | Resync, strawberry.union("LogUpdate", description="Lines were written, or some that are not told.")
]
AlertUpdate = Annotated[
    SecurityAlert | Resync, strawberry.union("AlertUpdate", description="An alert, or some that are not told.")
]
ActionUpdate = Annotated[
    ActionExecution | Resync, strawberry.union("ActionUpdate", description="An action, or some that are not told.")
]


@described
class Records:
    """What is written down, as it is."""

    @watches(Permission.EVENT_READ, seen=Seen.BY_SCOPE)
    async def events(
        self,
        info: Info,
        kinds: list[EventKind] | None = None,  # type: ignore[valid-type]  # made at run time
        after: str | None = None,
    ) -> AsyncIterator[EventUpdate]:
        """Everything that happens, or all of some kinds, as far as the caller may read of it; each event is told."""
        context = info.context
        async for update in watched(
            context,
            hearing.audible(context, kinds),
            after,
            lambda event: EventTold(event=event),
            owner=context.caller.owner_filter,
            owned=OWNED,
            wants=hearing.of_concern(context),
            coalesced=False,
        ):
            yield update

    @watches(Permission.LOG_READ, seen=Seen.BY_TENANT)
    async def log_appended(
        self, info: Info, filter: LogFilter | None = None, after: str | None = None, token: str | None = None
    ) -> AsyncIterator[LogUpdate]:
        """Lines as they are written: those that a filter selects, or that leave was given for.

        Args:
            token: what `logsStreamRealtime` has answered; it is good once, and says itself which lines.
        """
        context = info.context
        if filter is not None and token is not None:
            raise BadInput("filter: the token says already which lines")
        wanted = (filter or LogFilter()).wanted() if token is None else await log_streams.redeemed(context, token)

        def selects(event: Event) -> bool:
            return any(wanted.may_select(line, event.created_at) for line in logs.mentioned(event))

        async def selected(change: LogChange) -> bool:
            return bool(await system.log_lines(context, logs.mentioned(change.event), wanted))

        async for update in watched(
            context, Kind.LOG_APPENDED, after, lambda event: LogChange(event=event, wanted=wanted), wants=selects
        ):
            # What a line says is not told with its event.
            if wanted.message_contains is None or isinstance(update, Resync) or await selected(update):
                yield update

    @watches(Permission.EVENT_READ, seen=Seen.BY_TENANT)
    async def security_alert(self, info: Info, after: str | None = None) -> AsyncIterator[AlertUpdate]:
        """Alerts: accounts that were locked, permissions that somebody keeps asking for, tokens that were stolen."""
        async for update in watched(
            info.context, Kind.SECURITY_ALERTED, after, lambda event: SecurityAlert(event=event)
        ):
            yield update

    @watches(Permission.AUDIT_READ, seen=Seen.BY_SCOPE)
    async def action_executed(
        self, info: Info, action: str | None = None, after: str | None = None
    ) -> AsyncIterator[ActionUpdate]:
        """Actions, or one of them, each time it was done or refused, as far as the caller may read of it.

        Args:
            action: as the audit trail calls it, such as `job.cancel`.
        """
        if action is not None:
            await _require_known(info.context, action)
        concerns = hearing.of_concern(info.context)

        def wants(event: Event) -> bool:
            return action in (None, event.payload["action"]) and concerns(event)

        async for update in watched(
            info.context, Kind.ACTION_EXECUTED, after, lambda event: ActionExecution(event=event), wants=wants
        ):
            yield update


async def _require_known(context: Context, action: str) -> None:
    """Make sure that something can be on record under a name: whoever watches another would wait for ever.

    Raises:
        UnknownAction: it is none of an action, and nothing is on record under it either.
    """
    if action in CATALOGUE or action in BESIDE or await audit.how_many(context, Recorded(action=action)):
        return
    raise UnknownAction(f"action: {unknown(action, [*CATALOGUE, *BESIDE])}")
