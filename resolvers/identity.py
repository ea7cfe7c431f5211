"""Who is calling: signing in, staying signed in, signing out."""

from db import users
from db.rows import Row
from db.users import User
from guards.sessions import Session
from resolvers.context import Context


class SignedIn(Row, frozen=True):
    """A session and whose it is."""

    session: Session
    user: User


async def me(context: Context) -> User | None:
    """The caller; None when they were removed since their token was given out."""
    return await context.loaders.user.load(context.caller.user_id)


async def login(context: Context, tenant: str, email: str, password: str) -> SignedIn:
    """Sign in with a password.

    Raises:
        Unauthenticated: address or password is wrong, or the user is disabled.
    """
    origin = context.origin
    opened = context.services.sessions.opened(tenant=tenant, email=email, password=password, origin=origin)
    return await _with_user(context, await opened)


async def refresh(context: Context, refresh_token: str) -> SignedIn:
    """Exchange a refresh token for fresh tokens.

    Raises:
        Unauthenticated: it is not good (any more).
    """
    return await _with_user(context, await context.services.sessions.renewed(refresh_token, context.origin))


async def logout(context: Context, refresh_token: str | None = None) -> None:
    """End the caller's access tokens, and with a refresh token its whole family."""
    await context.services.sessions.closed(context.caller, refresh_token, context.origin)


async def _with_user(context: Context, session: Session) -> SignedIn:
    async with context.services.database.system() as tx:
        user = await users.by_id(tx, session.user_id)
    assert user is not None
    return SignedIn(session, user)
