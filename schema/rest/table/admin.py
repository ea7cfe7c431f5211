"""The console's endpoints: the snapshot it reads, and the one through which it acts."""

from typing import Final

from dataloaders.snapshot import TimeRange
from dataloaders.snapshot.dashboard import Dashboard
from dataloaders.snapshot.whole import Snapshot
from guards.permissions import Permission
from schema.rest import snapshots
from schema.rest.rows import Endpoint, Tag, body

ROWS: Final = (
    Endpoint(
        method="GET",
        path="/admin/ssot",
        tag=Tag.ADMIN,
        summary="The whole snapshot; `time_range` 1h, 24h, 7d or 30d, `log_filters` a JSON object.",
        direct=snapshots.whole,
        asks=snapshots.Asked,
        answers=Snapshot,
        beside={"*": "data", "agents": "data.agents_workers", "time_range": TimeRange},
        permission=Permission.SNAPSHOT_READ,
    ),
    Endpoint(
        method="GET",
        path="/admin/ssot/dashboard",
        tag=Tag.ADMIN,
        summary="The dashboard section of the snapshot.",
        direct=snapshots.dashboard,
        answers=Dashboard,
        beside={"dashboard": "data", "status": str},
        permission=Permission.SNAPSHOT_READ,
    ),
    Endpoint(
        method="GET",
        path="/admin/ssot/health",
        tag=Tag.ADMIN,
        summary="How old the snapshot is, and the last error of each section; 503 when there is none to be had.",
        direct=snapshots.health,
        answers=snapshots.Standing,
        beside={"status": "data.status", "services": "data.services"},
        permission=Permission.SNAPSHOT_READ,
    ),
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
