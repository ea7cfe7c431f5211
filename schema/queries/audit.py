"""What can be read of what was done."""

from functools import partial
from typing import Any

from guards.permissions import Permission
from resolvers.queries import audit
from schema.connections import Connection, connection, window
from schema.fields import Info, described, requires
from schema.inputs import AuditFilter, AuditOrder
from schema.types.audit import AuditEntry


@described
class AuditTrail:
    """The audit trail."""

    @requires(Permission.AUDIT_READ, gives=Connection[AuditEntry] | None)
    async def audit_log(
        self,
        info: Info,
        filter: AuditFilter | None = None,
        order_by: AuditOrder | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        offset: int | None = None,
    ) -> Connection[Any]:
        """What was done and what was refused, the newest first unless told otherwise; all of it for administrators."""
        wanted = (filter or AuditFilter()).wanted()
        page = await audit.listed(
            info.context, wanted, (order_by or AuditOrder()).order(), window(first, after, last, before, offset)
        )
        return connection(page, partial(audit.how_many, info.context, wanted))
