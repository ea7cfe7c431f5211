"""What must be there before anything is served: the schema, the default tenant, its agents, somebody who may sign in.

Everything here can be repeated and run by two servers at once; only what is missing is made.
"""

from dataclasses import dataclass

from db import agents, users
from db.database import Database
from db.models.identity import DEFAULT_TENANT, Role
from guards import passwords
from workers.agents.offers import offered
from workers.agents.roster import ROSTER

FIRST_ADMIN = "admin@localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A sign-in that was just made; the password is stored nowhere in the clear."""

    email: str
    password: str


async def prepare(database: Database) -> None:
    """Make the default tenant, and bring all tenants' agents up to the code."""
    await add_tenant(database, DEFAULT_TENANT)
    async with database.system() as tx:
        tenants = await users.tenant_ids(tx)
    for tenant in tenants:
        await settle(database, tenant)


async def add_tenant(database: Database, tenant: str) -> bool:
    """Make a tenant with its agents; False when it was there already."""
    async with database.system() as tx:
        new = await users.ensure_tenant(tx, tenant)
    if new:
        await settle(database, tenant)
    return new


async def settle(database: Database, tenant: str) -> None:
    """Bring a tenant's agents up to what the code and its plug-ins offer."""
    async with database.transaction(tenant) as tx:
        await agents.settle(tx, [*ROSTER, *(agent.known for agent in offered().values())])


async def first_admin(database: Database) -> Account | None:
    """Make the first administrator, if there is nobody at all; their password is never to be had again."""
    async with database.system() as tx:
        if await users.anybody(tx):
            return None
    account = Account(email=FIRST_ADMIN, password=passwords.generated())
    secret = await passwords.hashed(account.password)
    async with database.transaction(DEFAULT_TENANT) as tx:
        added = await users.add(
            tx,
            tenant=DEFAULT_TENANT,
            email=account.email,
            name="Administrator",
            role=Role.ADMIN,
            password_hash=secret,
        )
    # None: another server that starts at the same moment was first, and shows its own password.
    return account if added else None
