"""On which terms an endpoint is served: to whom, and how often, as the objects say that admit and count there."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from strawberry.schema.base import BaseSchema

from db.models.identity import Role
from guards.allowances import Class
from schema.directives import RateLimit
from schema.rest import facts
from schema.rest.endpoints import ENDPOINTS
from schema.rest.facts import Facts
from schema.rest.rows import Endpoint

LEVELS: Final = tuple(Class)
"""Who may ask for what; each is stricter than the one before."""

_BY_BUCKET: Final = {level.value: level for level in LEVELS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Those of one row."""

    facts: Facts
    level: Class
    roles: tuple[Role, ...]
    """Who may, of those who are signed in."""

    limits: tuple[tuple[str, int], ...]
    """How often a minute, by the name of each limit that counts a call."""

    @property
    def row(self) -> Endpoint:
        """Whose terms these are."""
        return self.facts.row

    @property
    def limit(self) -> int:
        """How often a minute, by the limit that is spent first."""
        return min(limit for _, limit in self.limits)


@cache
def of_all(schema: BaseSchema) -> tuple[Terms, ...]:
    """The terms of the whole table; made once for each schema, for neither changes."""
    return of(facts.of(ENDPOINTS, schema))


def of(rows: Iterable[Facts]) -> tuple[Terms, ...]:
    """The terms of some rows."""
    return tuple(
        Terms(facts=row, level=_level(row), roles=row.roles, limits=tuple(_limits(row.limits))) for row in rows
    )


def _level(row: Facts) -> Class:
    if row.public:
        return Class.PUBLIC
    counted = {
        _BY_BUCKET[said.bucket] for said in row.said if isinstance(said, RateLimit) and said.bucket in _BY_BUCKET
    }
    return max(counted, key=LEVELS.index)


def _limits(said: Iterable[RateLimit]) -> Iterable[tuple[str, int]]:
    return dict.fromkeys((each.bucket, each.limit * 60 // each.window) for each in said)
