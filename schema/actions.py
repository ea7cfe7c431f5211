"""What signing in and out is given and answers."""

from uuid import UUID

import strawberry

from guards.errors import NotFound
from schema.fields import asked, described
from schema.scalars import uuid_of
from schema.types.people import Session, User


def found(kind: str, key: str) -> UUID:
    """The UUID of what an action is about.

    Raises:
        NotFound: no id of ours looks like that.
    """
    uuid = uuid_of(key)
    if uuid is None:
        raise NotFound(f"there is no {kind} {key[:50]}" if key.strip() else f"there is no {kind} without an id")
    return uuid


@asked
class LoginInput:
    """Who wants to sign in."""

    tenant: str = "default"
    email: str
    password: str


@asked
class RefreshInput:
    """What to exchange for fresh tokens."""

    refresh_token: str


@asked
class LogoutInput:
    """What to end."""

    refresh_token: str | None = None
    """Ends whatever this sign-in was refreshed to as well."""


@described
class LoginPayload:
    """What a client holds after signing in."""

    session: Session
    user: User


@described
class RefreshPayload:
    """What a client holds after refreshing."""

    session: Session
    user: User


@described
class LogoutPayload:
    """The session is over."""

    user_id: strawberry.ID
