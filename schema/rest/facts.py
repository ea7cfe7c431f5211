"""What is known of a row of the endpoint table beside what it says itself: who may, how often, and what may be refused.

Everything is read off the objects that admit and count, so that a description of an endpoint is what happens there.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import FieldNode, OperationDefinitionNode, get_named_type
from strawberry.schema.base import BaseSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from db.models.identity import Role
from guards.permissions import Permission, granted
from schema.access import Access, Choosing, Guarded
from schema.directives import Breaker, IdempotencyMode, Idempotent, RateLimit, Requires
from schema.plan import ANYBODYS
from schema.rest.operations import Stored
from schema.rest.rows import Endpoint, Place, Tag
from schema.rest.serving import fitting
from schema.rest.statuses import status_of

FAULT: Final = "INTERNAL_ERROR"
"""What is answered where nobody foresaw it; no refusal of ours."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One row."""

    row: Endpoint
    name: str
    """Its operation's, or made of its path; no other row has it."""

    stored: Stored | None
    accesses: tuple[Access, ...]

    @property
    def said(self) -> tuple[object, ...]:
        """The directives of everything it uses."""
        return tuple(said for access in self.accesses for said in access.directives())

    @property
    def public(self) -> bool:
        """Whether everybody may."""
        return not any(isinstance(said, Requires) for said in self.said)

    @property
    def ways(self) -> list[list[Permission]]:
        """All of one of the inner lists is needed; empty where nothing is, or where it is chosen."""
        return [way for said in self.said if isinstance(said, Requires) for way in said.permissions]

    @property
    def roles(self) -> tuple[Role, ...]:
        """Who may, of those who are signed in; where a name that is sent chooses what is done, whoever may do that."""
        return tuple(role for role in Role if all(_lets(access, role) for access in self.accesses))

    @property
    def policies(self) -> list[str]:
        """What is asked beside a permission."""
        return [policy.value for said in self.said if isinstance(said, Requires) for policy in said.policy or ()]

    @property
    def limits(self) -> list[RateLimit]:
        """How often, by each limit that counts it."""
        rate = self.row.rate
        if rate is not None and self.row.permission is not None:
            return [
                RateLimit(
                    limit=rate.limit, window=rate.window_s, algorithm=rate.algorithm, bucket=str(self.row.permission)
                )
            ]
        return [said for said in self.said if isinstance(said, RateLimit)]

    @property
    def chosen(self) -> bool:
        """Whether a name that is sent chooses what is done."""
        return any(isinstance(access, Choosing) for access in self.accesses)

    @property
    def changes(self) -> bool:
        """Whether it does something."""
        return self.row.method != "GET" if self.stored is None else self.stored.changes

    @property
    def keyed(self) -> bool:
        """Whether an idempotency key makes a difference."""
        return any(isinstance(said, Idempotent) and said.mode is IdempotencyMode.SUPPORTED for said in self.said)

    @property
    def reads_body(self) -> bool:
        """Whether it takes one."""
        return self.row.form is not None or any(source.place is Place.BODY for source in self.row.variables.values())

    def codes(self) -> dict[int, list[str]]:
        """The codes of what may be refused, by status."""
        found: dict[int, list[str]] = {}
        for code in sorted(set(self._codes())):
            found.setdefault(status_of(code), []).append(code)
        return dict(sorted(found.items()))

    def _codes(self) -> Iterable[str]:
        yield from ("RATE_LIMITED", "UNAUTHENTICATED", "UNAVAILABLE", FAULT)
        if not self.public:
            yield "FORBIDDEN"
        if self.row.variables or self.row.paged or self.row.form or self.row.direct or self.keyed:
            yield "VALIDATION_ERROR"
        if "{" in self.row.path or self.changes or self._may_be_missing():
            yield "NOT_FOUND"
        if self.reads_body:
            yield from ("TOO_LARGE", "UNSUPPORTED_MEDIA")
        if self.chosen:
            yield from ("UNKNOWN_ACTION", "OPERATION_FAILED", "CHECKSUM_MISMATCH", "QUOTA_EXCEEDED")
        if self.keyed:
            yield from ("IDEMPOTENCY_IN_PROGRESS", "IDEMPOTENCY_MISMATCH")
        if self.changes and not self.public:
            yield from ("CONFLICT", "MAINTENANCE", "NOT_CONTROLLABLE")
        if self.changes and self.row.tag is Tag.UPLOAD:
            yield from ("CHECKSUM_MISMATCH", "QUOTA_EXCEEDED", "TOO_LARGE", "UNSUPPORTED_MEDIA")
        if self.chosen or any(isinstance(said, Breaker) for said in self.said):
            yield "CIRCUIT_OPEN"

    def _may_be_missing(self) -> bool:
        """Whether there may be nothing to show, or a variable that names nothing."""
        return self.stored is not None and (
            bool(self.row.shown) or any(get_named_type(kind).name == "ID" for kind in self.stored.types.values())
        )


def of(rows: Sequence[Endpoint], schema: BaseSchema) -> list[Facts]:
    """The facts of every row."""
    counted = Counter(row.operation for row in rows)
    found = []
    for row in rows:
        stored = fitting(row, schema) if row.operation else None
        name = row.operation if row.operation and counted[row.operation] == 1 else _name(row)
        found.append(Facts(row, name, stored, tuple(_accesses(row, stored, schema))))
    assert len(found) == len({facts.name for facts in found}), "two endpoints would have one name"
    return found


def _lets(access: Access, role: Role) -> bool:
    ways = [way for said in access.directives() if isinstance(said, Requires) for way in said.permissions]
    return isinstance(access, Choosing) or not ways or any(granted(role).issuperset(way) for way in ways)


def _accesses(row: Endpoint, stored: Stored | None, schema: BaseSchema) -> Iterable[Access]:
    if stored is None:
        yield ANYBODYS if row.permission is None else Guarded(((row.permission,),))
        return
    core: Any = schema._schema  # type: ignore[attr-defined]  # what documents are validated with
    [operation] = [node for node in stored.document.definitions if isinstance(node, OperationDefinitionNode)]
    root = core.get_root_type(operation.operation)
    for node in operation.selection_set.selections:
        if isinstance(node, FieldNode) and node.name.value in root.fields:
            declared = root.fields[node.name.value].extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
            yield from (each for each in declared.extensions if isinstance(each, Access))


def _name(row: Endpoint) -> str:
    words = re.findall(r"[a-z0-9]+", row.path.replace("{", "by_").replace("_id}", "").lower())
    return "".join(word.capitalize() for word in words) or "Root"
