"""Every key in Redis, made in one place, so that no two rooms take the same one."""

from db.models.identity import DEFAULT_TENANT

PREFIX = "agentos:"

EVENTS_BELL = PREFIX + "events"
"""The channel on which processes tell each other that there are new events; nothing is said on it but that."""


def snapshot(tenant: str) -> str:
    """The admin snapshot of a tenant; the default tenant's has the name that older clients know."""
    return "admin:dashboard:v4" if tenant == DEFAULT_TENANT else f"admin:dashboard:v4:{tenant}"
