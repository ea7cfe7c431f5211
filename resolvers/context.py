"""What every resolver is handed: the services of this process, and who is asking in this operation."""

from dataclasses import dataclass
from pathlib import Path

from dataloaders.batches import Loaders
from dataloaders.snapshot import Snapshots
from db.database import Database
from db.files import Files
from db.redis import Redis
from guards import networks
from guards.callers import Caller, signed_in
from guards.links import Links
from guards.networks import LOOPBACK, Network
from guards.permissions import ADMIN_READS, Permission
from guards.sessions import Sessions
from guards.tokens import Tokens
from resolvers.live import Hub
from workers.doorbell import Doorbell


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What one process has for all of its calls; made at start, closed at the end."""

    database: Database
    redis: Redis
    tokens: Tokens
    sessions: Sessions
    snapshots: Snapshots
    files: Files
    links: Links
    hub: Hub
    doorbell: Doorbell
    media_root: Path | None = None
    """The folder that jobs may name files of; None for none."""

    admin_allow: tuple[Network, ...] = LOOPBACK
    """From where reads that show the whole house are served."""


@dataclass(slots=True, kw_only=True)
class Context:
    """One operation: who asks, with loaders of its own so that nothing stale outlives it."""

    services: Services
    loaders: Loaders
    viewer: Caller | None
    """Who is signed in, or None; checked by the guard around every field before a resolver runs."""

    trace_id: str
    address: str
    """The client's IP address, behind trusted proxies."""

    @classmethod
    def made(cls, services: Services, viewer: Caller | None, *, trace_id: str, address: str) -> "Context":
        """The context of one operation, with loaders that have read nothing yet and see what its caller may."""
        loaders = Loaders(
            services.database,
            services.snapshots,
            tenant=viewer.tenant if viewer else "",
            owner=viewer.owner_filter if viewer else None,
        )
        return cls(services=services, loaders=loaders, viewer=viewer, trace_id=trace_id, address=address)

    def may(self, permission: Permission) -> bool:
        """Whether the caller holds a permission and calls from where it may be used."""
        return self.viewer is not None and self.viewer.may(permission) and self.from_inside(permission)

    def from_inside(self, permission: Permission) -> bool:
        """Whether a permission may be used from the client's address, by whoever holds it."""
        return permission not in ADMIN_READS or networks.allowed(self.address, self.services.admin_allow)

    @property
    def caller(self) -> Caller:
        """Who is signed in.

        Raises:
            Unauthenticated: nobody; reached only by a public field that asks all the same.
        """
        return signed_in(self.viewer)
