"""The console's endpoints: the snapshot it reads, and the one through which it acts."""

from typing import Final

from schema.rest.rows import Endpoint, Tag, body

ROWS: Final = (
    Endpoint(
        method="POST",
        path="/admin/action",
        tag=Tag.ADMIN,
        summary="Carry out an action of the catalogue, by its name.",
        operation="AdminAction",
        variables={"action": body("action"), "payload": body("payload")},
        shown=("actionByName",),
        beside={
            "result": "data.result",
            "action": "data.action",
            "trace_id": "data.trace_id",
            "duration_ms": "data.duration_ms",
        },
    ),
    Endpoint(
        method="GET",
        path="/admin/action/status",
        tag=Tag.ADMIN,
        summary="Every action with what the caller may do with it, and the newest of those that take long.",
        operation="AdminActionStatus",
        beside={"actions": "data.actions"},
    ),
)
