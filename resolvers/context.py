"""What every resolver is handed: the services of this process, and who is asking in this operation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from dataloaders.batches import Loaders
from dataloaders.snapshot import Snapshots
from db.database import Database
from db.events import Cursor
from db.files import Files
from db.models.identity import Role
from db.redis import Redis
from guards import networks
from guards.allowances import Spent
from guards.audit import Entry
from guards.breakers import Breakers
from guards.callers import Caller, Origin, signed_in
from guards.chain import Chain
from guards.errors import Forbidden
from guards.links import Links
from guards.lockouts import Lockouts
from guards.networks import LOOPBACK, Confinement, Network
from guards.permissions import HOUSE_TENANT, Permission, granted, inside_only, of_the_house
from guards.rates import Rates
from guards.sessions import Sessions
from guards.tokens import Tokens
from resolvers.live import Hub
from resolvers.operations import Operations
from resolvers.traffic import Recorder
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
    breakers: Breakers
    chain: Chain
    operations: Operations
    rates: Rates
    lockouts: Lockouts
    traffic: Recorder
    media_root: Path | None = None
    """The folder that jobs may name files of; None for none."""

    admin_allow: tuple[Network, ...] = LOOPBACK
    """From where the whole house is shown and steered."""

    action_allow: tuple[Confinement, ...] = ()
    """From where alone single actions may be used, beside that."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """All that an answer may depend on of who asks; those of one scope may be given the same answer."""

    tenant: str
    role: Role
    may: frozenset[Permission]
    """What may be used, with the place it is asked from already looked at."""

    user_id: UUID | None
    """Whose the answer is; None where it is the same for everybody of the scope."""


NOBODY: Final = UUID(int=0)
"""Stands for the user in a scope that is nobody's in particular; nothing belongs to them."""


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

    user_agent: str = ""
    """What the client says it is; kept nowhere but in the audit trail."""

    idempotency_key: str | None = None
    """The key of the request's header, which stands for the one action of its document."""

    scope: Scope | None = None
    """What is executed once for all of a scope knows nothing else of any of them; None for one caller's own."""

    after: str | None = None
    """The cursor that a stream is taken up again after, as its transport says; it stands above an argument's."""

    begun: Callable[[Cursor], None] | None = None
    """Told where a stream begins once it listens: of what comes after that place, nothing is lost."""

    whole: bool = False
    """Whether one refused field refuses all of a read, too: there is no way to answer the rest beside it."""

    admitted: Mapping[str, str | None] | None = None
    """The actions of this operation that the plan let pass, by response key, each with its idempotency key.

    None before there was a plan: then no action runs at all.
    """

    spent: Spent | None = None
    """What the operation has counted against its limits, or would have had it not been refused; None before that."""

    cost: int | None = None
    """How many fields the operation may answer, as far as could be told before it ran; None before that."""

    replayed: set[str] = field(default_factory=set)
    """Response keys whose answer is a stored one."""

    @property
    def told_again(self) -> bool:
        """Whether everything this operation asked to be done had been done before."""
        return bool(self.replayed) and self.admitted is not None and self.replayed == self.admitted.keys()

    @classmethod
    def made(
        cls,
        services: Services,
        viewer: Caller | None,
        *,
        trace_id: str,
        address: str,
        user_agent: str = "",
        idempotency_key: str | None = None,
    ) -> "Context":
        """The context of one operation, with loaders that have read nothing yet and see what its caller may."""
        loaders = Loaders(
            services.database,
            services.snapshots,
            tenant=viewer.tenant if viewer else "",
            owner=viewer.owner_filter if viewer else None,
        )
        return cls(
            services=services,
            loaders=loaders,
            viewer=viewer,
            trace_id=trace_id,
            address=address,
            user_agent=user_agent,
            idempotency_key=idempotency_key,
        )

    def scope_of(self, *, own: bool) -> Scope:
        """The scope that the caller is in.

        Args:
            own: whether the answer is for the caller alone, even where they see what others do.
        """
        caller = self.caller
        return Scope(
            tenant=caller.tenant,
            role=caller.role,
            may=frozenset(filter(self.may, granted(caller.role))),
            user_id=caller.user_id if own else caller.owner_filter,
        )

    @classmethod
    def of_scope(cls, services: Services, scope: Scope) -> "Context":
        """A context made of a scope alone, so that nothing of one caller gets into the answer of another."""
        somebody = Caller(
            user_id=scope.user_id or NOBODY,
            tenant=scope.tenant,
            role=scope.role,
            token_id="",
            token_version=0,
            expires_at=0,
        )
        made = cls.made(services, somebody, trace_id=uuid4().hex, address="")
        made.scope = scope
        return made

    def afresh(self) -> "Context":
        """The same with loaders that have read nothing yet, for one event."""
        return replace(self, loaders=self.loaders.fresh())

    @property
    def origin(self) -> Origin:
        """From where this call came, for the record."""
        return Origin(address=self.address, user_agent=self.user_agent, trace_id=self.trace_id)

    def entry(
        self, action: str, target: object = None, *, details: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Entry:
        """What is put on record of something that this call does or is refused."""
        return Entry(
            tenant=self.caller.tenant,
            actor=self.caller.user_id,
            role=self.caller.role,
            action=action,
            target=None if target is None else str(target),
            details=dict(details or {}),
            trace_id=self.trace_id,
            address=self.address,
            user_agent=self.user_agent,
            key=key,
        )

    def may(self, permission: Permission) -> bool:
        """Whether the caller holds a permission and calls from where it may be used."""
        return self.viewer is not None and self.viewer.may(permission) and self._barred(self.viewer, permission) is None

    def require(self, permission: Permission) -> None:
        """Make sure that the caller may.

        Raises:
            Unauthenticated: nobody is signed in.
            Forbidden: the role does not grant it, or not from this address, or not to this tenant.
        """
        caller = self.caller
        if not caller.may(permission):
            raise Forbidden(f"the role {caller.role} may not {permission}", missing=permission)
        if barred := self._barred(caller, permission):
            raise Forbidden(barred, missing=permission)

    def _barred(self, caller: Caller, permission: Permission) -> str | None:
        """Why the caller may not use a permission of theirs here, if so."""
        if self.scope is not None:
            return None if permission in self.scope.may else f"{permission} may not be used from everywhere"
        if inside_only(permission) and not networks.allowed(self.address, self.services.admin_allow):
            return f"the role {caller.role} may not {permission} from {self.address}"
        if networks.confined(permission, self.address, self.services.action_allow):
            return f"{permission} may be used from its own networks only, and {self.address} is in none of them"
        if of_the_house(permission) and caller.tenant != HOUSE_TENANT:
            return f"{permission} concerns the whole installation: only the tenant {HOUSE_TENANT} may"
        return None

    @property
    def caller(self) -> Caller:
        """Who is signed in.

        Raises:
            Unauthenticated: nobody; reached only by a public field that asks all the same.
        """
        return signed_in(self.viewer)
