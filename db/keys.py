"""Every key in Redis, made in one place, so that no two rooms take the same one."""

from db.models.identity import DEFAULT_TENANT

PREFIX = "agentos:"

EVENTS_BELL = PREFIX + "events"
"""The channel on which processes tell each other that there are new events; nothing is said on it but that."""

EVENTS_TOLD = PREFIX + "events-told"
"""The same, once the events are in their streams."""

EVENTS_EPOCH = PREFIX + "{events}:epoch"
"""Who adds events to the streams, for as long as they do."""

DOORBELL = PREFIX + "doorbell"
"""The queue in which workers are told of jobs that are due."""

WARMING = PREFIX + "warming"
"""The queue of the warmer, in which there is nothing but its own cron."""

SOCKETS = PREFIX + "sockets"
"""Which processes have legacy sockets, or had some lately."""


def sockets(process: str) -> str:
    """How many legacy sockets a process has open; there while it says so."""
    return f"{SOCKETS}:{process}"


def snapshot(tenant: str) -> str:
    """The admin snapshot of a tenant; the default tenant's has the name that older clients know."""
    return "admin:dashboard:v4" if tenant == DEFAULT_TENANT else f"admin:dashboard:v4:{tenant}"


def snapshot_range(tenant: str, time_range: str) -> str:
    """The snapshot of a tenant over another stretch of time; no tenant's id has an @ in it."""
    return f"{snapshot(tenant)}@{time_range}"


def snapshot_lock(snapshot_key: str) -> str:
    """Held by whoever builds the snapshot of that key."""
    return f"{PREFIX}snapshot:lock:{snapshot_key}"


def snapshot_expired(tenant: str) -> str:
    """When something last changed that the tenant's snapshots should show."""
    return f"{PREFIX}snapshot:expired:{tenant}"


def snapshot_read(about: str) -> str:
    """There while a snapshot is being read, or followed."""
    return f"{PREFIX}snapshot:read:{about}"


def snapshot_announced(about: str) -> str:
    """What was last announced of a snapshot, section by section."""
    return f"{PREFIX}snapshot:announced:{about}"


def snapshot_versions(about: str) -> tuple[str, str, str]:
    """The versions of a snapshot that were announced, oldest first; their bodies; which of them told of each section.

    In one slot of a cluster, for they are written at once.
    """
    versions = f"{PREFIX}snapshot:versions:{{{about}}}"
    return versions, f"{versions}:bodies", f"{versions}:sections"


def rate(algorithm: str, tenant: str, key: str) -> str:
    """A counter of calls; all of them in one slot of a cluster, for one call is counted on several at once."""
    return f"{PREFIX}{{rates}}:{algorithm}:{tenant}:{key}"


def events_of(tenant: str) -> str:
    """The stream of a tenant's events; all of them in one slot of a cluster, for they are added at once."""
    return f"{PREFIX}{{events}}:of:{tenant}"


def log_stream(digest: str) -> str:
    """What whoever brings the token of that digest may follow of the log; never the token itself."""
    return f"{PREFIX}log-stream:{digest}"
