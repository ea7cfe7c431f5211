"""The endpoints of the REST table with how they were used, and how jobs and agents did over time."""

from datetime import datetime

import strawberry

from dataloaders.snapshot import TimeRange
from db.models.identity import Role
from db.traffic import Key, Traffic
from guards.allowances import Class
from resolvers.queries import endpoints
from resolvers.queries.endpoints import Measured
from schema.fields import described, shows
from schema.rest.rows import Tag
from schema.rest.terms import Terms
from schema.scalars import BigInt

# The names that readers of the schema see; in the house, both are plain words of their modules.
strawberry.enum(Class, name="AccessLevel", description="Who may ask for what, and whose limit it counts against.")
strawberry.enum(Tag, name="EndpointTag", description="The chapter of the documentation that an endpoint belongs to.")

_SHARES = 0.5, 0.95, 0.99


@described
class Endpoint:
    """A row of the table of REST endpoints, and how it was used; both prefixes, all tenants and processes together."""

    method: str
    path: str
    """Below its prefix, with parameters in braces."""

    tag: Tag
    summary: str
    access: Class
    roles: list[Role]
    """Who may, of those who are signed in; where a name that is sent chooses what is done, whoever may do that."""

    limit: int
    """How often one caller may ask in a minute, by the limit that is spent first."""

    deprecated: bool
    requests: BigInt
    p50: float | None
    """Milliseconds that half of the answers took at most, within 5 %; null without any."""

    p95: float | None
    """The same of 95 in a hundred."""

    p99: float | None
    """The same of 99 in a hundred."""

    average: float | None
    """Milliseconds that an answer took on average; null without any."""

    per_second: float | None
    """Requests in a second; null without any."""

    error_rate: float | None
    """Percent of the answers that were 4xx or 5xx; null without any."""

    client_error_rate: float | None
    """Percent of the answers that were 4xx."""

    server_error_rate: float | None
    """Percent of the answers that were 5xx."""

    cache_hit_rate: float | None
    """Percent of the answers that came from a cache, where one was asked; null where none was."""

    legacy_rate: float | None
    """Percent of the requests that came below the prefix for clients from before."""

    first_used_at: datetime | None
    """When it was used first, since that is measured; null when it never was."""

    last_used_at: datetime | None

    @classmethod
    def of(cls, terms: Terms, measured: Measured) -> "Endpoint":
        """A row with what was measured of it."""
        row = terms.row
        key = Key(row.method, row.path)
        used, marks = measured.used.get(key) or Traffic(), measured.marks.get(key)
        p50, p95, p99 = map(used.quantile_ms, _SHARES)
        return cls(
            method=row.method,
            path=row.path,
            tag=row.tag,
            summary=row.summary,
            access=terms.level,
            roles=list(terms.roles),
            limit=terms.limit,
            deprecated=row.deprecated,
            requests=BigInt(used.requests),
            p50=p50,
            p95=p95,
            p99=p99,
            average=used.average_ms,
            per_second=used.per_second(measured.until - measured.since),
            error_rate=used.error_percent,
            client_error_rate=used.refused_percent,
            server_error_rate=used.failed_percent,
            cache_hit_rate=used.hit_percent,
            legacy_rate=used.legacy_percent,
            first_used_at=marks.first_at if marks else None,
            last_used_at=marks.last_at if marks else None,
        )


@shows(endpoints.HourOfJobs)
class HourOfJobs:
    """What happened to the jobs of a tenant within one clock hour."""

    hour: datetime
    made: int
    begun: int
    completed: int
    failed: int
    cancelled: int


@shows(endpoints.HourOfAgent)
class HourOfAgent:
    """How an agent did within one clock hour, in the jobs of a tenant."""

    hour: datetime
    agent_id: str
    completed: int
    failed: int
    skipped: int
    average_s: float | None


@described
class Metrics:
    """How endpoints, jobs and agents did over a stretch of time."""

    time_range: TimeRange
    since: datetime
    until: datetime
    endpoints: list[Endpoint]
    """Those that are for everybody or for people; who may read of services is shown all."""

    jobs: list[HourOfJobs]
    """Every clock hour, oldest first."""

    agents: list[HourOfAgent]
    """Hours in which an agent ended a step, oldest first."""
