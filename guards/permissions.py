"""What a role may do: permissions are words, roles are patterns over them.

A permission is the name of an action (`job.cancel`) or one of the reads below. There is no store behind a decision, so
nothing can be down: a permission no pattern matches is refused.
"""

from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from db.models.identity import Role


class Permission(StrEnum):
    """Every permission; the value is what roles are matched with and what a client is told it lacks."""

    ADMIN = "admin"
    ME_READ = "me.read"
    JOB_READ = "job.read"
    CLIP_READ = "clip.read"
    UPLOAD_READ = "upload.read"
    AGENT_READ = "agent.read"
    QUEUE_READ = "queue.read"
    SNAPSHOT_READ = "snapshot.read"
    WORKER_READ = "worker.read"
    LOG_READ = "log.read"
    EVENT_READ = "event.read"
    CONFIG_READ = "config.read"
    JOB_CREATE = "job.create"
    JOB_CANCEL = "job.cancel"
    JOB_RETRY = "job.retry"
    JOB_UPDATE_STATUS = "job.update_status"
    QUEUE_PAUSE = "queue.pause"
    QUEUE_RESUME = "queue.resume"
    AGENT_START = "agent.start"
    AGENT_STOP = "agent.stop"
    AGENT_CONFIGURE = "agent.configure"
    UPLOAD_INIT = "upload.init"
    UPLOAD_FINALIZE = "upload.finalize"


ADMIN_READS: Final = frozenset(
    {
        Permission.SNAPSHOT_READ,
        Permission.WORKER_READ,
        Permission.LOG_READ,
        Permission.EVENT_READ,
        Permission.CONFIG_READ,
    }
)
"""Reads that show the whole house; they are served to allowed addresses only."""

_READS: Final = (
    Permission.ME_READ,
    Permission.JOB_READ,
    Permission.CLIP_READ,
    Permission.UPLOAD_READ,
    Permission.AGENT_READ,
    Permission.QUEUE_READ,
)
_OWN_WORK: Final = (Permission.JOB_CREATE, Permission.JOB_CANCEL, Permission.JOB_RETRY, "upload.*")

PATTERNS: Final[dict[Role, tuple[str, ...]]] = {
    Role.ADMIN: ("*",),
    Role.OPERATOR: (*_READS, *ADMIN_READS, "job.*", "queue.*", "worker.*", "agent.*", "upload.*"),
    Role.SUPERVISOR: (*_READS, *ADMIN_READS, *_OWN_WORK),
    Role.USER: (*_READS, *_OWN_WORK),
    Role.READONLY: (*_READS, *ADMIN_READS),
}

OWN_ONLY: Final = frozenset({Role.USER})
"""Roles that see and touch only what is theirs; anybody else's looks missing."""


@cache
def granted(role: Role) -> frozenset[Permission]:
    """Everything a role may do."""
    return frozenset(p for p in Permission if any(fnmatchcase(p, pattern) for pattern in PATTERNS[role]))
