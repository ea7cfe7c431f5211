"""Users and their sessions."""

from datetime import datetime
from uuid import UUID

from db import users
from db.models.identity import Role
from guards.sessions import Session as Opened
from schema.fields import shows
from schema.scalars import key
from schema.types.nodes import Node


@shows(users.User)
class User(Node):
    """Somebody who can sign in."""

    id: UUID = key()
    email: str
    name: str
    role: Role
    created_at: datetime
    last_login_at: datetime | None
    disabled_at: datetime | None


@shows(Opened)
class Session:
    """What a client holds after signing in or refreshing."""

    access_token: str
    refresh_token: str
    expires_in: int
    token_type: str
