"""Commands about who may come in: access tokens, users, tenants."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from agentos.cli.places import database_of, entrant_of, require_tenant, settings_with, token_for, user_of
from agentos.cli.printing import AsJson, Failed, say, show_json, shown

if TYPE_CHECKING:
    from agentos.settings import Settings
    from db.database import Database, Transaction

RoleName = Literal["admin", "operator", "supervisor", "user", "readonly"]
"""The same words as `db.models.identity.Role`, which takes too long to import for `--help`; a test compares them."""

Ttl = Annotated[int | None, Parameter(validator=Number(gte=1, lte=900))]


async def token(*, user: str, role: RoleName | None = None, tenant: str = "default", ttl: Ttl = None) -> None:
    """Print one access token and nothing else.

    Args:
        user: Id or email address of a user; `user list` shows them.
        role: What the token may do; default the user's own role.
        tenant: Whose data it opens.
        ttl: Seconds it is good for, at most 900; default 900.
    """
    settings = settings_with()
    async with database_of(settings) as database:
        found = await entrant_of(database, user, tenant)
        say(token_for(settings, found, role=role, ttl=ttl))


async def add(
    email: str,
    /,
    *,
    role: RoleName = "user",
    name: str = "",
    tenant: str = "default",
    as_json: AsJson = False,
) -> None:
    """Add a user with a generated password, which is printed this once.

    Args:
        email: Their address, with which they sign in.
        role: What they may do.
        name: How they are called.
        tenant: Where they belong; `tenant add` makes one.
        as_json: Print JSON.
    """
    from db import users
    from db.models.identity import Role
    from guards import passwords

    settings, password = settings_with(), passwords.generated()
    async with database_of(settings) as database:
        secret = await passwords.hashed(password)
        async with database.system() as tx:
            await require_tenant(tx, tenant)
        if "@" not in email or not 3 <= len(email) <= 254:
            raise Failed(f"{email} is not an email address", wrong_usage=True)
        async with database.transaction(tenant) as tx:
            made = await users.add(tx, tenant=tenant, email=email, name=name, role=Role(role), password_hash=secret)
            if made is not None:
                await _recorded(settings, database, tx, "user.add", str(made.id), role=made.role)
    if made is None:
        raise Failed(f"the tenant {tenant} has a user {email} already")
    if as_json:
        show_json({"id": made.id, "email": made.email, "role": made.role, "tenant": tenant, "password": password})
    else:
        say(f"added {made.email} as {made.role} with the id {made.id}")
        say(f"password {password}  (shown only this once)")


async def list_users(*, tenant: str | None = None, as_json: AsJson = False) -> None:
    """List users.

    Args:
        tenant: Only those of one tenant; default all.
        as_json: Print JSON.
    """
    from db import users

    async with database_of(settings_with()) as database, database.system() as tx:
        if tenant is not None:
            await require_tenant(tx, tenant)
        found = [user for user in await users.everybody(tx) if tenant in (None, user.tenant_id)]
    columns = ("email", "role", "tenant", "id", "disabled")
    rows = [(user.email, user.role, user.tenant_id, user.id, user.disabled_at) for user in found]
    shown([dict(zip(columns, row, strict=True)) for row in rows], as_json, columns, rows)


async def disable(user: str, /, *, tenant: str = "default") -> None:
    """Lock a user out for good: every token of theirs stops being good at once.

    Args:
        user: Id or email address.
        tenant: Where they belong.
    """
    from db import users

    settings = settings_with()
    async with database_of(settings) as database:
        found = await user_of(database, user, tenant)
        async with database.transaction(tenant) as tx:
            done = await users.mark_disabled(tx, found.id)
            if done:
                await _recorded(settings, database, tx, "user.disable", str(found.id))
    say(f"{found.email} is locked out" if done else f"{found.email} was locked out before")


async def add_tenant(name: str, /) -> None:
    """Make a tenant with agents of its own.

    Args:
        name: Lower-case letters, digits and hyphens, at most 63.
    """
    import re

    from agentos import first_run
    from db import users

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise Failed(f"{name!r} cannot be a tenant: lower-case letters, digits and hyphens only", wrong_usage=True)
    settings = settings_with()
    async with database_of(settings) as database:
        async with database.transaction(name) as tx:
            async with tx.everybody():
                made = await users.ensure_tenant(tx, name)
            if made:
                await _recorded(settings, database, tx, "tenant.add", name)
        if made:
            await first_run.settle(database, name)
    say(f"made the tenant {name}" if made else f"the tenant {name} was there before")


async def list_tenants(*, as_json: AsJson = False) -> None:
    """List tenants."""
    from db import users

    async with database_of(settings_with()) as database, database.system() as tx:
        found = await users.tenant_ids(tx)
    shown(found, as_json, ("tenant",), [(name,) for name in found])


async def _recorded(
    settings: "Settings", database: "Database", tx: "Transaction", action: str, target: str, **details: str
) -> None:
    """Put on record what this transaction does, which nobody who is signed in does."""
    from uuid import uuid4

    from agentos.keys import seals_of
    from guards.audit import Audit, by_hand

    done = by_hand(tx.tenant, action, target, trace_id=uuid4().hex, details=details)
    await Audit(database, seals_of(settings)).done(tx, done, b"{}")


user = App(name="user", help="Who may sign in.")
user.command(add, name="add")
user.command(list_users, name="list")
user.command(disable, name="disable")

tenant = App(name="tenant", help="Tenants, each behind a wall of its own.")
tenant.command(add_tenant, name="add")
tenant.command(list_tenants, name="list")

commands: Final[dict[str, Callable[..., Any]]] = {"token": token, "user": user, "tenant": tenant}
