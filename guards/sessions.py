"""Signing in and staying signed in: passwords for tokens, refresh tokens for fresh ones (RFC 9700 §4.14).

A refresh token is exchanged once. Asked again within ten seconds (a lost answer, two tabs) it gives the same successor;
later, or when its successor has been used too, somebody holds a copy, and the whole family ends. Who guesses passwords
is locked out (`guards.lockouts`), and told the same as who is only wrong. Everything is in PostgreSQL: with Redis away
nothing changes here, with PostgreSQL away nobody signs in.
"""

import base64
import binascii
import hashlib
import secrets
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db import events, refresh_tokens, users
from db.database import Database, Transaction
from db.events import Kind
from db.models.identity import Role
from guards import lockouts, passwords
from guards.audit import Audit, Entry, Outcome
from guards.callers import Caller, Origin
from guards.errors import Unauthenticated
from guards.lockouts import AlertReason, Attempt, Lockouts
from guards.tokens import LONGEST_LIFE, Tokens

FAMILY_LIFE: Final = timedelta(days=30)
"""How long one sign-in lasts, however often it is refreshed."""

PARENT_GRACE: Final = timedelta(seconds=10)


class Session(msgspec.Struct, frozen=True):
    """What a client holds after signing in or refreshing."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds the access token is good for."""

    user_id: UUID
    role: Role
    token_type: str = "Bearer"
    """How the access token is sent (RFC 6750)."""


class Sessions:
    """Opens, renews and ends sessions."""

    def __init__(self, database: Database, tokens: Tokens, audit: Audit) -> None:
        self._database = database
        self._tokens = tokens
        self._audit = audit
        self._lockouts = Lockouts(database)

    async def opened(self, *, tenant: str, email: str, password: str, origin: Origin) -> Session:
        """A session for who knows the password; on record, and so is every failure to open one of somebody's.

        Args:
            origin: from where they try; too many failures from there, and nothing is looked at for a while.

        Raises:
            Unauthenticated: unknown address, wrong password, disabled user or locked out; which one is not told.
        """
        found = await self._credentials(tenant, email)
        attempt = Attempt(tenant=tenant, email=email, address=origin.address, user_id=found.id if found else None)
        admission = await self._lockouts.begin(attempt)
        # Even a password that will not do is compared with something, so that no answer is quicker than another.
        stored = found.password_hash if found and admission.open else None
        if not await passwords.matches(password, stored) or found is None or found.disabled_at is not None:
            await self._lockouts.failed(attempt, admission)
            if found is not None and admission.open:
                tried = _entry("session.open", tenant, found.id, found.role, origin)
                await self._audit.refused(tried, Outcome.DENIED, Unauthenticated.code)
            raise Unauthenticated("email or password is wrong")
        await self._lockouts.succeeded(attempt)
        refresh = _new_token()
        async with self._database.transaction(tenant) as tx:
            # Whoever was locked out while the password was compared must not be left with a token.
            if not await users.mark_signed_in(tx, found.id):
                raise Unauthenticated("email or password is wrong")
            expires_at = await refresh_tokens.now(tx) + FAMILY_LIFE
            await refresh_tokens.add(
                tx, tenant=tenant, user_id=found.id, family=uuid4(), digest=_digest(refresh), expires_at=expires_at
            )
            await self._audit.done(tx, _entry("session.open", tenant, found.id, found.role, origin), b"{}")
        return self._session(refresh, found.id, tenant, found.role, found.token_version)

    async def renewed(self, refresh_token: str, origin: Origin) -> Session:
        """A fresh access token and the next refresh token; on record, and so is one that was used before.

        Raises:
            Unauthenticated: the token is unknown, expired, revoked or was used before; in the last case its whole
                family has just been revoked.
        """
        raw = _raw(refresh_token)
        refused = Unauthenticated("the refresh token is not good (any more): sign in again")
        async with self._database.system() as tx:
            tenant = await refresh_tokens.tenant_of(tx, _digest(raw))
        if tenant is None:
            raise refused
        async with self._database.transaction(tenant) as tx:
            token = await refresh_tokens.locked(tx, _digest(raw))
            user = await users.by_id(tx, token.user_id) if token else None
            if token is None or user is None:
                raise refused
            successor = await self._successor(tx, token, raw)
            renewal = _entry("session.renew", tenant, user.id, user.role, origin)
            if successor is None or user.disabled_at is not None:
                await self._audit.failed(tx, renewal, Outcome.DENIED, refused.code)
                successor = None
            else:
                await self._audit.done(tx, renewal, b"{}")
        if successor is None:
            # Not before the commit: that the family is revoked, and why, must stand.
            raise refused
        return self._session(successor, user.id, tenant, user.role, user.token_version)

    async def closed(self, caller: Caller, refresh_token: str | None, origin: Origin) -> None:
        """End a session: all of the user's access tokens at once, and the family of the refresh token if given."""
        async with self._database.transaction(caller.tenant) as tx:
            await users.revoke_tokens(tx, caller.user_id)
            if refresh_token is not None:
                token = await refresh_tokens.locked(tx, _digest(_raw(refresh_token)))
                if token is not None and token.user_id == caller.user_id:
                    await refresh_tokens.revoke_family(tx, token.family)
            await events.record(
                tx, Kind.USER_CHANGED, str(caller.user_id), {"reason": "signed_out"}, owner=caller.user_id
            )
            ended = _entry("session.close", caller.tenant, caller.user_id, caller.role, origin)
            await self._audit.done(tx, ended, b"{}")

    async def _credentials(self, tenant: str, email: str) -> users.Credentials | None:
        # Nobody's address has such characters, and PostgreSQL would fail at the parameter instead of finding nobody.
        if not (tenant + email).isprintable():
            return None
        async with self._database.system() as tx:
            return await users.credentials(tx, tenant, email)

    async def _successor(self, tx: Transaction, token: refresh_tokens.RefreshToken, raw: bytes) -> bytes | None:
        moment = await refresh_tokens.now(tx)
        if token.revoked_at is not None or token.expires_at <= moment:
            return None
        if token.rotated_at is None or token.sealed_successor is None:
            successor = _new_token()
            await refresh_tokens.mark_rotated(tx, token.id, sealed_successor=_sealed(successor, raw))
            await refresh_tokens.add(
                tx,
                tenant=token.tenant_id,
                user_id=token.user_id,
                family=token.family,
                digest=_digest(successor),
                expires_at=token.expires_at,
            )
            return successor
        if moment - token.rotated_at <= PARENT_GRACE and not await refresh_tokens.successor_rotated(tx, token):
            return _opened(token.sealed_successor, raw)
        await refresh_tokens.revoke_family(tx, token.family)
        await users.revoke_tokens(tx, token.user_id)
        message = "a refresh token was used again after it had been exchanged"
        await lockouts.alert(tx, token.tenant_id, token.user_id, AlertReason.REFRESH_TOKEN_REUSED, message)
        return None

    def _session(self, refresh: bytes, user_id: UUID, tenant: str, role: Role, version: int) -> Session:
        access = self._tokens.issued(user_id=user_id, tenant=tenant, role=role, token_version=version)
        shown = base64.urlsafe_b64encode(refresh).rstrip(b"=").decode()
        return Session(access, shown, int(LONGEST_LIFE.total_seconds()), user_id, role)


def _entry(action: str, tenant: str, user_id: UUID, role: Role, origin: Origin) -> Entry:
    return Entry(
        tenant=tenant,
        actor=user_id,
        role=role,
        action=action,
        target=str(user_id),
        details={},
        trace_id=origin.trace_id,
        address=origin.address,
        user_agent=origin.user_agent,
    )


def _new_token() -> bytes:
    return secrets.token_bytes(32)


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def _raw(token: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return b""


# The successor is kept so that only the holder of its parent can read it: a stolen table gives no token away.
def _sealed(successor: bytes, parent: bytes) -> bytes:
    return AESGCM(_seal_key(parent)).encrypt(b"\0" * 12, successor, None)


def _opened(sealed: bytes, parent: bytes) -> bytes | None:
    try:
        return AESGCM(_seal_key(parent)).decrypt(b"\0" * 12, sealed, None)
    except InvalidTag:
        return None


def _seal_key(parent: bytes) -> bytes:
    return hashlib.sha256(b"agentos refresh successor" + parent).digest()
