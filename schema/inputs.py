"""How lists are narrowed and sorted. A filter's parts must all hold; a list is sorted by what never is null."""

from datetime import datetime
from enum import StrEnum

import strawberry

from db import agents, audit, clips, jobs, logs, operations, pages, system_events, uploads
from db.models.guards import OperationState
from db.models.records import Severity
from db.models.work import AgentCategory, JobStatus, UploadStatus
from guards.audit import Outcome
from guards.errors import BadInput
from schema.connections import Direction, order
from schema.fields import asked
from schema.scalars import named, utc

LONGEST_SEARCH = 200


class JobOrderField(StrEnum):
    """What jobs can be sorted by."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    PRIORITY = "priority"


class ClipOrderField(StrEnum):
    """What clips can be sorted by."""

    CREATED_AT = "created_at"
    SCORE = "score"


class AgentOrderField(StrEnum):
    """What agents can be sorted by."""

    ID = "id"
    NAME = "name"


class WorkerOrderField(StrEnum):
    """What workers can be sorted by."""

    STARTED_AT = "started_at"
    HOSTNAME = "hostname"


class TimeOrderField(StrEnum):
    """What a list can be sorted by that is kept in the order of time."""

    CREATED_AT = "created_at"


class AuditOrderField(StrEnum):
    """What the audit trail can be sorted by."""

    SEQ = "seq"
    AT = "at"


@asked
class JobOrder:
    """How jobs are sorted."""

    field: JobOrderField = JobOrderField.CREATED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class ClipOrder:
    """How clips are sorted."""

    field: ClipOrderField = ClipOrderField.CREATED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class AgentOrder:
    """How agents are sorted."""

    field: AgentOrderField = AgentOrderField.ID
    direction: Direction = Direction.ASC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class WorkerOrder:
    """How workers are sorted."""

    field: WorkerOrderField = WorkerOrderField.STARTED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class UploadOrder:
    """How uploads are sorted."""

    field: TimeOrderField = TimeOrderField.CREATED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class OperationOrder:
    """How operations are sorted."""

    field: TimeOrderField = TimeOrderField.CREATED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class LogOrder:
    """How log lines are sorted."""

    field: TimeOrderField = TimeOrderField.CREATED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class EventOrder:
    """How system events are sorted."""

    field: TimeOrderField = TimeOrderField.CREATED_AT
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class AuditOrder:
    """How the audit trail is sorted."""

    field: AuditOrderField = AuditOrderField.SEQ
    direction: Direction = Direction.DESC

    def order(self) -> pages.Order:
        """The same for the database."""
        return order(self.field, self.direction)


@asked
class JobFilter:
    """Which jobs; every part that is given must hold."""

    statuses: list[JobStatus] | None = None
    owner_id: strawberry.ID | None = None
    upload_id: strawberry.ID | None = None
    worker_id: str | None = None
    current_step: str | None = None
    """The agent at work, or the next one whose turn it is."""

    title_contains: str | None = None
    created_after: datetime | None = None
    """Inclusive."""

    created_before: datetime | None = None
    """Exclusive."""

    created_today: bool = False
    """Only those made on the present day, UTC."""

    def wanted(self) -> jobs.Filter:
        """The same for the database."""
        return jobs.Filter(
            statuses=tuple(self.statuses or ()),
            user_id=named("ownerId", self.owner_id),
            upload_id=named("uploadId", self.upload_id),
            worker_id=self.worker_id,
            current_step=self.current_step,
            title_contains=_search("titleContains", self.title_contains),
            created_after=utc("createdAfter", self.created_after),
            created_before=utc("createdBefore", self.created_before),
            today=self.created_today,
        )


@asked
class ClipFilter:
    """Which clips; every part that is given must hold."""

    job_id: strawberry.ID | None = None
    min_score: float | None = None
    """0..100."""

    created_after: datetime | None = None
    """Inclusive."""

    created_before: datetime | None = None
    """Exclusive."""

    def wanted(self) -> clips.Filter:
        """The same for the database."""
        return clips.Filter(
            job_id=named("jobId", self.job_id),
            min_score=self.min_score,
            created_after=utc("createdAfter", self.created_after),
            created_before=utc("createdBefore", self.created_before),
        )


@asked
class AgentFilter:
    """Which agents; every part that is given must hold."""

    categories: list[AgentCategory] | None = None
    enabled: bool | None = None

    def wanted(self) -> agents.Filter:
        """The same for the database."""
        return agents.Filter(categories=tuple(self.categories or ()), enabled=self.enabled)


@asked
class WorkerFilter:
    """Which workers."""

    alive: bool | None = None
    """Whether they were heard of within the last half minute and have not stopped."""


@asked
class UploadFilter:
    """Which uploads; every part that is given must hold."""

    statuses: list[UploadStatus] | None = None
    mine: bool = False
    """Only the caller's own, also where they may see those of others."""

    owner_id: strawberry.ID | None = None
    created_after: datetime | None = None
    """Inclusive."""

    created_before: datetime | None = None
    """Exclusive."""

    def wanted(self) -> uploads.Filter:
        """The same for the database."""
        return uploads.Filter(
            statuses=tuple(self.statuses or ()),
            user_id=named("ownerId", self.owner_id),
            created_after=utc("createdAfter", self.created_after),
            created_before=utc("createdBefore", self.created_before),
        )


@asked
class OperationFilter:
    """Which operations; every part that is given must hold."""

    states: list[OperationState] | None = None
    actions: list[str] | None = None

    def wanted(self) -> operations.Filter:
        """The same for the database."""
        return operations.Filter(states=tuple(self.states or ()), actions=tuple(self.actions or ()))


@asked
class LogFilter:
    """Which log lines; every part that is given must hold."""

    levels: list[Severity] | None = None
    source: str | None = None
    category: str | None = None
    trace_id: str | None = None
    message_contains: str | None = None
    created_after: datetime | None = None
    """Inclusive."""

    created_before: datetime | None = None
    """Exclusive."""

    def wanted(self) -> logs.Filter:
        """The same for the database."""
        return logs.Filter(
            levels=tuple(self.levels or ()),
            source=self.source,
            category=self.category,
            trace_id=self.trace_id,
            message_contains=_search("messageContains", self.message_contains),
            created_after=utc("createdAfter", self.created_after),
            created_before=utc("createdBefore", self.created_before),
        )


@asked
class EventFilter:
    """Which system events; every part that is given must hold."""

    severities: list[Severity] | None = None
    kind: str | None = None
    source: str | None = None
    created_after: datetime | None = None
    """Inclusive."""

    created_before: datetime | None = None
    """Exclusive."""

    def wanted(self) -> system_events.Filter:
        """The same for the database."""
        return system_events.Filter(
            severities=tuple(self.severities or ()),
            kind=self.kind,
            source=self.source,
            created_after=utc("createdAfter", self.created_after),
            created_before=utc("createdBefore", self.created_before),
        )


@asked
class AuditFilter:
    """Which entries of the audit trail; every part that is given must hold."""

    actor_id: strawberry.ID | None = None
    action: str | None = None
    target: str | None = None
    """The id of what it was about."""

    outcomes: list[Outcome] | None = None
    trace_id: str | None = None
    since: datetime | None = None
    """Inclusive."""

    until: datetime | None = None
    """Exclusive."""

    def wanted(self) -> audit.Filter:
        """The same for the database."""
        return audit.Filter(
            actor_id=named("actorId", self.actor_id),
            action=self.action,
            target=self.target,
            outcomes=tuple(self.outcomes or ()),
            trace_id=self.trace_id,
            since=utc("since", self.since),
            until=utc("until", self.until),
        )


def _search(field: str, text: str | None) -> str | None:
    if text is not None and len(text) > LONGEST_SEARCH:
        raise BadInput(f"{field}: at most {LONGEST_SEARCH} characters are searched for")
    return text
