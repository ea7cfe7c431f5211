"""Who is calling: what a verified token says, and nothing a client could merely claim."""

from uuid import UUID

import msgspec

from db.models.identity import Role
from guards.errors import Forbidden, Unauthenticated
from guards.permissions import OWN_ONLY, Permission, granted


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in user, as the access token names them."""

    user_id: UUID
    tenant: str
    role: Role
    token_id: str
    token_version: int
    """Compared with the user's own; a lower one was revoked."""

    expires_at: int
    """Seconds since the epoch when the token stops being good."""

    @property
    def owner_filter(self) -> UUID | None:
        """Whose rows alone may be seen, or None for a role that sees the tenant's."""
        return self.user_id if self.role in OWN_ONLY else None

    def may(self, permission: Permission) -> bool:
        """Whether the role grants a permission."""
        return permission in granted(self.role)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """From where a call came, as far as that is put on record."""

    address: str
    """The client's, behind trusted proxies; empty for who is at the machine itself."""

    user_agent: str = ""
    trace_id: str | None = None


def require(caller: Caller | None, permission: Permission) -> Caller:
    """The caller, once it is sure that they may.

    Raises:
        Unauthenticated: nobody is signed in.
        Forbidden: the role does not grant the permission.
    """
    known = signed_in(caller)
    if not known.may(permission):
        raise Forbidden(f"the role {known.role} may not {permission}")
    return known


def signed_in(caller: Caller | None) -> Caller:
    """The caller, once it is sure that there is one.

    Raises:
        Unauthenticated: nobody is signed in.
    """
    if caller is None:
        raise Unauthenticated("sign in first: send an access token as `Authorization: Bearer …`")
    return caller
