"""What can be set of a running system, in one table: each setting with its kind, its range and what stands without it.

A setting is here because something obeys it; whoever obeys reads it from the configuration in force at the moment it
matters, within the same transaction where there is one. What the environment sets when a process starts is none.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from db.configuration import Configuration
from db.rows import Row


class BadSetting(ValueError):
    """There is no such setting, or it cannot have that value; the message names it and says what is taken."""


class Tunable(Row, frozen=True, kw_only=True):
    """One setting."""

    name: str
    meaning: str
    """What obeys it, for a person."""

    kind: type = int
    """`int`, `float`, `str` or `list` (of texts)."""

    least: float = 0
    most: float = 0
    """Of a number; of a list, how long it may be."""

    pattern: str = ""
    """What a text, or each text of a list, looks like."""

    default: Any = None
    """What stands when it is not set; None when that depends on how the process was started, or on nothing."""

    reloads: bool = True
    """Whether it is obeyed at once; else from the next start of a process."""

    of_the_house: bool = False
    """Whether it concerns all tenants, so that only the tenant of the house may set it."""

    once: tuple[str, ...] = ()
    """What older clients call it."""


_AGENT: Final = r"[a-z][a-z0-9-]{1,49}"

MAX_QUEUED_JOBS: Final = Tunable(
    name="max_queued_jobs",
    meaning="Jobs that may wait at once; more are refused until some have begun.",
    least=1,
    most=1_000_000,
    default=1_000,
)
JOB_MAX_ATTEMPTS: Final = Tunable(
    name="job_max_attempts",
    meaning="How often a new job is tried before it fails for good.",
    least=1,
    most=10,
    default=3,
    once=("max_retries",),
)
MAX_UPLOAD_SIZE_MB: Final = Tunable(
    name="max_upload_size_mb",
    meaning="MB that one uploaded file may have.",
    least=1,
    most=10_240,
    default=100,
    once=("max_file_size_mb",),
)
UPLOAD_QUOTA_MB: Final = Tunable(
    name="upload_quota_mb",
    meaning="MB of uploads that one user may hold at once; not set: what AGENTOS_UPLOAD_QUOTA_MB says.",
    least=1,
    most=10_485_760,
    of_the_house=True,
)
LOG_RETENTION_DAYS: Final = Tunable(
    name="log_retention_days",
    meaning="Days for which lines of the log are kept.",
    least=1,
    most=365,
    default=30,
    once=("cleanup_retention_days",),
)
SYSTEM_EVENT_RETENTION_DAYS: Final = Tunable(
    name="system_event_retention_days",
    meaning="Days for which system events are kept.",
    least=1,
    most=3_650,
    default=90,
)
REPORT_RETENTION_DAYS: Final = Tunable(
    name="report_retention_days",
    meaning="Days for which new exports and reports are kept.",
    least=1,
    most=365,
    default=7,
)
DEFAULT_CHAIN: Final = Tunable(
    name="default_chain",
    meaning="Agents that a new job goes through when it names none, in this order.",
    kind=list,
    least=1,
    most=30,
    pattern=_AGENT,
)
DEFAULT_ASPECT: Final = Tunable(
    name="default_aspect",
    meaning="The shape of clips when a job wishes none, such as `9:16`, or `source`.",
    kind=str,
    pattern=r"source|\d{1,3}:\d{1,3}",
)
DEFAULT_MIN_SECONDS: Final = Tunable(
    name="default_min_seconds",
    meaning="The shortest clip when a job wishes none.",
    kind=float,
    least=1,
    most=600,
)
DEFAULT_MAX_SECONDS: Final = Tunable(
    name="default_max_seconds",
    meaning="The longest clip when a job wishes none.",
    kind=float,
    least=1,
    most=600,
)
DEFAULT_MAX_CLIPS: Final = Tunable(
    name="default_max_clips",
    meaning="How many clips at most when a job wishes none.",
    least=1,
    most=10,
)
DEFAULT_PLATFORMS: Final = Tunable(
    name="default_platforms",
    meaning="Platforms that posts are written for when a job names none.",
    kind=list,
    least=1,
    most=10,
    pattern=r"[a-z][a-z0-9_-]{1,29}",
)
LOG_LEVEL: Final = Tunable(
    name="log_level",
    meaning="The least severe level that processes write: debug, info, warning or error.",
    kind=str,
    pattern="debug|info|warning|error",
    of_the_house=True,
)
LOG_FORMAT: Final = Tunable(
    name="log_format",
    meaning="How processes write their log: auto, json or pretty.",
    kind=str,
    pattern="auto|json|pretty",
    reloads=False,
    of_the_house=True,
)

TUNABLES: Final = (
    MAX_QUEUED_JOBS,
    JOB_MAX_ATTEMPTS,
    MAX_UPLOAD_SIZE_MB,
    UPLOAD_QUOTA_MB,
    LOG_RETENTION_DAYS,
    SYSTEM_EVENT_RETENTION_DAYS,
    REPORT_RETENTION_DAYS,
    DEFAULT_CHAIN,
    DEFAULT_ASPECT,
    DEFAULT_MIN_SECONDS,
    DEFAULT_MAX_SECONDS,
    DEFAULT_MAX_CLIPS,
    DEFAULT_PLATFORMS,
    LOG_LEVEL,
    LOG_FORMAT,
)

BY_NAME: Final[Mapping[str, Tunable]] = {
    name: tunable for tunable in TUNABLES for name in (tunable.name, *tunable.once)
}

ELSEWHERE: Final[Mapping[str, str]] = {
    "maintenance_mode": "system.maintenance_mode_toggle switches it",
    "max_concurrent_jobs": "worker.scale and worker.configure say how many jobs run at once",
    "worker_concurrency": "worker.configure says how many jobs a worker runs at once",
    "job_timeout": "config.configure_agent says how long a step may take",
    "job_timeout_seconds": "config.configure_agent says how long a step may take",
    "worker_health_check_interval": "manager.configure sets how often managers look",
    "default_video_quality": "config.configure_agent sets the options of an agent",
    "ai_service_timeout": "no outside service is called",
    "api_rate_limit": "every action has its own limit, which the catalogue of actions shows",
    "system_version": "it is the version of the code",
    "database_version": "it is the version of the code",
}
"""What people look for here, and where it is."""


def named(name: str) -> Tunable:
    """The setting of a name, or of a name it once had.

    Raises:
        BadSetting: there is none.
    """
    if found := BY_NAME.get(name):
        return found
    shown = name[:60]
    if hint := ELSEWHERE.get(name):
        raise BadSetting(f"{shown}: is not set here: {hint}")
    raise BadSetting(f"{shown}: there is no such setting; there are {', '.join(each.name for each in TUNABLES)}")


def checked(tunable: Tunable, value: object) -> Any:
    """A value as it is kept.

    Raises:
        BadSetting: the setting cannot have it.
    """
    taken = _list(tunable, value) if tunable.kind is list else _single(tunable, value)
    if taken is None:
        raise BadSetting(f"{tunable.name}: {expected(tunable)} is taken")
    return taken


def expected(tunable: Tunable) -> str:
    """What a setting takes, for a person."""
    if tunable.kind is list:
        return f"a list of {tunable.least:.0f} to {tunable.most:.0f} texts like {tunable.pattern}"
    if tunable.kind is str:
        return f"a text like {tunable.pattern}"
    kind = "a whole number" if tunable.kind is int else "a number"
    return f"{kind} from {tunable.least:.0f} to {tunable.most:.0f}"


def value(version: Configuration | None, tunable: Tunable) -> Any:
    """What a setting is in a version of the configuration: what was set, else its default."""
    found = None if version is None else version.settings.get(tunable.name)
    return tunable.default if found is None else found


def _single(tunable: Tunable, given: object) -> Any:
    if tunable.kind is str:
        return given if isinstance(given, str) and re.fullmatch(tunable.pattern, given) else None
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    # Not a number is in no range; a whole number may come as 3.0.
    if not tunable.least <= given <= tunable.most or (tunable.kind is int and given != int(given)):
        return None
    return tunable.kind(given)


def _list(tunable: Tunable, given: object) -> list[str] | None:
    if not isinstance(given, list) or not tunable.least <= len(given) <= tunable.most:
        return None
    sound = all(isinstance(each, str) and re.fullmatch(tunable.pattern, each) for each in given)
    return given if sound and len(set(given)) == len(given) else None
