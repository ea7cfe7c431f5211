"""What a role may do: permissions are words, roles are patterns over them.

A permission is the name of an action (`job.cancel`) or one of the reads below. There is no store behind a decision, so
nothing can be down: a permission no pattern matches is refused.
"""

from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from db.roles import DEFAULT_TENANT, Role


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
    OPERATION_READ = "operation.read"
    MANAGER_READ = "manager.read"
    SERVICE_READ = "service.read"
    AUDIT_READ = "audit.read"

    JOB_CREATE = "job.create"
    JOB_UPDATE_STATUS = "job.update_status"
    AGENT_START = "agent.start"
    AGENT_STOP = "agent.stop"
    AGENTS_RESTART = "agents.restart"
    AGENT_CONFIGURE = "agent.configure"
    AGENTS_CONFIGURE = "agents.configure"
    AGENT_QUEUE_CLEAR = "agent.queue_clear"
    UPLOAD_INIT = "upload.init"
    UPLOAD_FINALIZE = "upload.finalize"

    JOB_RETRY = "job.retry"
    JOB_CANCEL = "job.cancel"
    JOB_DELETE = "job.delete"
    JOB_PRIORITY = "job.priority"
    QUEUE_CLEAR = "queue.clear"
    QUEUE_PAUSE = "queue.pause"
    QUEUE_RESUME = "queue.resume"
    QUEUE_DRAIN = "queue.drain"
    DASHBOARD_SYSTEM_CHECK = "dashboard.system_check"
    DASHBOARD_EXPORT_DAILY_REPORT = "dashboard.export_daily_report"
    DASHBOARD_RESTART_FAILED_JOBS = "dashboard.restart_failed_jobs"
    DASHBOARD_TOGGLE_MAINTENANCE = "dashboard.toggle_maintenance"
    DASHBOARD_QUEUE_PURGE = "dashboard.queue_purge"
    SYSTEM_HEALTH_CHECK = "system.health_check"
    SYSTEM_RESTART = "system.restart"
    SYSTEM_EMERGENCY_STOP = "system.emergency_stop"
    SYSTEM_MAINTENANCE_MODE_TOGGLE = "system.maintenance_mode_toggle"
    SYSTEM_GRACEFUL_SHUTDOWN = "system.graceful_shutdown"
    SYSTEM_RESTART_WITH_CONFIG = "system.restart_with_config"
    SYSTEM_RESTART_WITH_MIGRATION = "system.restart_with_migration"
    SYSTEM_CLEAR_CACHE = "system.clear_cache"
    SYSTEM_BACKUP = "system.backup"
    SYSTEM_MAINTENANCE = "system.maintenance"
    SERVICE_START = "service.start"
    SERVICE_STOP = "service.stop"
    SERVICE_RESTART = "service.restart"
    SERVICE_RESTART_ALL = "service.restart_all"
    SERVICE_HEALTH_CHECK = "service.health_check"
    SERVICE_VIEW_LOGS = "service.view_logs"
    DATABASE_STATUS = "database.status"
    DATABASE_PERFORMANCE_CHECK = "database.performance_check"
    DATABASE_CLEANUP_OLD_DATA = "database.cleanup_old_data"
    DATABASE_VACUUM = "database.vacuum"
    DATABASE_OPTIMIZE_INDEXES = "database.optimize_indexes"
    DATABASE_CREATE_BACKUP = "database.create_backup"
    DATABASE_LIST_BACKUPS = "database.list_backups"
    DATABASE_EXPORT_DATA = "database.export_data"
    DATABASE_RECORD_DETAILS = "database.record_details"
    DATABASE_VERIFY_BACKUP = "database.verify_backup"
    DATABASE_RESTORE_BACKUP = "database.restore_backup"
    WORKER_START = "worker.start"
    WORKER_STOP = "worker.stop"
    WORKER_RESTART = "worker.restart"
    WORKER_KILL = "worker.kill"
    WORKER_HEALTH_CHECK = "worker.health_check"
    WORKER_VIEW_LOGS = "worker.view_logs"
    WORKER_SCALE_UP = "worker.scale_up"
    WORKER_SCALE_DOWN = "worker.scale_down"
    WORKER_SPAWN_NEW = "worker.spawn_new"
    WORKER_RESTART_ALL = "worker.restart_all"
    WORKER_STOP_ALL = "worker.stop_all"
    WORKER_UPLOAD_FILES = "worker.upload_files"
    WORKER_CREATE_GENERIC = "worker.create_generic"
    WORKER_CONFIGURE = "worker.configure"
    WORKER_SCALE = "worker.scale"
    WORKER_PAUSE = "worker.pause"
    WORKER_RESUME = "worker.resume"
    AGENT_TEST = "agent.test"
    MANAGER_START = "manager.start"
    MANAGER_STOP = "manager.stop"
    MANAGER_RESTART = "manager.restart"
    MANAGER_START_ALL = "manager.start_all"
    MANAGER_RESTART_ALL = "manager.restart_all"
    MANAGER_CONFIGURE = "manager.configure"
    MANAGER_VIEW_LOGS = "manager.view_logs"
    MANAGER_FORCE_KILL = "manager.force_kill"
    MANAGER_RESET_STATE = "manager.reset_state"
    MANAGER_PERFORMANCE_METRICS = "manager.performance_metrics"
    LOGS_EXPORT = "logs.export"
    LOGS_CLEAR = "logs.clear"
    LOGS_CLEAR_ALL = "logs.clear_all"
    LOGS_DOWNLOAD_FULL = "logs.download_full"
    LOGS_REFRESH = "logs.refresh"
    LOGS_RUN_DIAGNOSTICS = "logs.run_diagnostics"
    LOGS_RESTART_SERVICE = "logs.restart_service"
    LOGS_EXPORT_ANALYTICS = "logs.export_analytics"
    LOGS_STREAM_REALTIME = "logs.stream_realtime"
    LOGS_FILTER_BY_LEVEL = "logs.filter_by_level"
    CONFIG_SAVE = "config.save"
    CONFIG_RESET_DEFAULTS = "config.reset_defaults"
    CONFIG_BACKUP = "config.backup"
    CONFIG_RESTORE = "config.restore"
    CONFIG_DOWNLOAD_BACKUP = "config.download_backup"
    CONFIG_ADD_AGENT = "config.add_agent"
    CONFIG_REMOVE_AGENT = "config.remove_agent"
    CONFIG_CONFIGURE_AGENT = "config.configure_agent"
    ANALYTICS_EXPORT_DATA = "analytics.export_data"
    ANALYTICS_REFRESH_DATA = "analytics.refresh_data"
    ANALYTICS_GENERATE_REPORT = "analytics.generate_report"
    ANALYTICS_SWITCH_TIMEPERIOD = "analytics.switch_timeperiod"
    CACHE_CLEAR = "cache.clear"
    CACHE_WARM = "cache.warm"
    BREAKER_ISOLATE = "breaker.isolate"
    BREAKER_CLOSE = "breaker.close"


ADMIN_READS: Final = frozenset(
    {
        Permission.SNAPSHOT_READ,
        Permission.WORKER_READ,
        Permission.LOG_READ,
        Permission.EVENT_READ,
        Permission.CONFIG_READ,
        Permission.OPERATION_READ,
        Permission.MANAGER_READ,
        Permission.SERVICE_READ,
        Permission.AUDIT_READ,
    }
)
"""Reads that show the whole house; they are served to allowed addresses only."""

EVERYDAY: Final = frozenset(
    {
        Permission.JOB_UPDATE_STATUS,
        Permission.AGENT_START,
        Permission.AGENT_STOP,
        Permission.AGENTS_RESTART,
        Permission.AGENT_CONFIGURE,
        Permission.AGENTS_CONFIGURE,
        Permission.AGENT_QUEUE_CLEAR,
    }
)
"""What changes more than the caller's own and is used from anywhere all the same, as it was before."""

_OF_THE_HOUSE: Final = (
    "system.*",
    "service.*",
    "worker.*",
    "database.*",
    "manager.*",
    "cache.*",
    "breaker.*",
    "logs.restart_service",
)
"""What reaches beyond one tenant: processes, the database as a whole, what all tenants share."""

_READS: Final = (
    Permission.ME_READ,
    Permission.JOB_READ,
    Permission.CLIP_READ,
    Permission.UPLOAD_READ,
    Permission.AGENT_READ,
    Permission.QUEUE_READ,
)
_OWN_WORK: Final = (Permission.JOB_CREATE, Permission.JOB_CANCEL, Permission.JOB_RETRY, "upload.*")
_LOOKING: Final = (
    *_READS,
    *(ADMIN_READS - {Permission.AUDIT_READ}),
    Permission.DASHBOARD_SYSTEM_CHECK,
    Permission.SYSTEM_HEALTH_CHECK,
    Permission.SERVICE_HEALTH_CHECK,
    Permission.DATABASE_STATUS,
    Permission.WORKER_HEALTH_CHECK,
    Permission.MANAGER_PERFORMANCE_METRICS,
    Permission.ANALYTICS_SWITCH_TIMEPERIOD,
)
_SUPERVISING: Final = (
    *_LOOKING,
    *_OWN_WORK,
    Permission.AUDIT_READ,
    Permission.JOB_PRIORITY,
    Permission.DASHBOARD_EXPORT_DAILY_REPORT,
    Permission.SERVICE_VIEW_LOGS,
    Permission.DATABASE_PERFORMANCE_CHECK,
    Permission.DATABASE_LIST_BACKUPS,
    Permission.DATABASE_RECORD_DETAILS,
    Permission.WORKER_VIEW_LOGS,
    Permission.MANAGER_VIEW_LOGS,
    Permission.LOGS_EXPORT,
    Permission.LOGS_REFRESH,
    Permission.LOGS_RUN_DIAGNOSTICS,
    Permission.LOGS_EXPORT_ANALYTICS,
    Permission.LOGS_STREAM_REALTIME,
    Permission.LOGS_FILTER_BY_LEVEL,
    "analytics.*",
)
_OPERATING: Final = (
    *_SUPERVISING,
    *(EVERYDAY - {Permission.AGENTS_CONFIGURE, Permission.AGENT_QUEUE_CLEAR}),
    Permission.QUEUE_PAUSE,
    Permission.QUEUE_RESUME,
    Permission.QUEUE_DRAIN,
    Permission.DASHBOARD_RESTART_FAILED_JOBS,
    Permission.SERVICE_START,
    Permission.SERVICE_RESTART,
    Permission.WORKER_START,
    Permission.WORKER_STOP,
    Permission.WORKER_RESTART,
    Permission.WORKER_RESTART_ALL,
    Permission.WORKER_SCALE,
    Permission.WORKER_SCALE_UP,
    Permission.WORKER_SCALE_DOWN,
    Permission.WORKER_SPAWN_NEW,
    Permission.WORKER_CONFIGURE,
    Permission.WORKER_PAUSE,
    Permission.WORKER_RESUME,
    Permission.AGENT_TEST,
    Permission.MANAGER_START,
    Permission.MANAGER_START_ALL,
    Permission.MANAGER_RESTART,
    Permission.CONFIG_CONFIGURE_AGENT,
    Permission.CACHE_WARM,
)

PATTERNS: Final[dict[Role, tuple[str, ...]]] = {
    Role.ADMIN: ("*",),
    Role.OPERATOR: _OPERATING,
    Role.SUPERVISOR: _SUPERVISING,
    Role.USER: (*_READS, *_OWN_WORK),
    Role.READONLY: _LOOKING,
}

OWN_ONLY: Final = frozenset({Role.USER})
"""Roles that see and touch only what is theirs; anybody else's looks missing."""


@cache
def granted(role: Role) -> frozenset[Permission]:
    """Everything a role may do."""
    return frozenset(p for p in Permission if any(fnmatchcase(p, pattern) for pattern in PATTERNS[role]))


@cache
def inside_only(permission: Permission) -> bool:
    """Whether it may be used from allowed addresses only: whatever shows or steers more than people's own work."""
    return permission in ADMIN_READS or permission not in granted(Role.USER) | EVERYDAY


@cache
def of_the_house(permission: Permission) -> bool:
    """Whether it reaches beyond one tenant, so that only those of the tenant that runs the house may."""
    return permission not in ADMIN_READS and any(fnmatchcase(permission, pattern) for pattern in _OF_THE_HOUSE)


HOUSE_TENANT: Final = DEFAULT_TENANT
"""The tenant of those who run the installation itself."""
