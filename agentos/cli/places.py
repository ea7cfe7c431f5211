"""Where a command finds the stores and the API: given addresses, else those of a running AgentOS, else its own."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from agentos.cli.printing import Failed

if TYPE_CHECKING:
    from agentos.client import Client
    from agentos.embedded import Addresses
    from agentos.settings import Settings
    from db.database import Database, Transaction
    from db.users import User

OTHER_FOLDER: Final = "Choose another folder with AGENTOS_DATA_DIR, or `up --data-dir`."


def settings_with(**given: Any) -> "Settings":
    """The settings of the environment, with what was said on the command line on top."""
    from agentos.settings import Settings

    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    _require_folder(settings.data_dir)
    return settings


def _require_folder(data_dir: Path) -> None:
    """The data directory can be there; nothing is made yet."""
    folder = data_dir.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise Failed(f"{data_dir} cannot be the data directory: {there} is a file", OTHER_FOLDER, wrong_usage=True)


def known(settings: "Settings") -> "Addresses":
    """Addresses of the stores as far as they are given or an AgentOS runs them here; empty where neither is so."""
    from agentos.embedded import Addresses, running

    _require_readable(settings)
    found = running(settings.data_dir)
    return Addresses(
        database_url=settings.database_url or (found.database_url if found else ""),
        redis_url=settings.redis_url or (found.redis_url if found else ""),
    )


@asynccontextmanager
async def reachable(settings: "Settings") -> AsyncIterator["Addresses"]:
    """Addresses of both stores; embedded ones that nobody runs are started for as long as the block lasts."""
    from agentos.embedded import Addresses, stores

    given = known(settings)
    if given.database_url and given.redis_url:
        yield given
        return
    async with stores(settings.data_dir, postgres=not given.database_url, valkey=not given.redis_url) as own:
        yield Addresses(database_url=given.database_url or own.database_url, redis_url=given.redis_url or own.redis_url)


def _require_readable(settings: "Settings") -> None:
    from db.database import driver_url
    from db.redis import connect

    readers: tuple[tuple[str, str | None, Callable[[str], object]], ...] = (
        ("AGENTOS_DATABASE_URL", settings.database_url, driver_url),
        ("AGENTOS_REDIS_URL", settings.redis_url, connect),
    )
    for name, url, read in readers:
        try:
            if url is not None:
                read(url)
        except ValueError as error:
            raise Failed(f"{name}: {error}", wrong_usage=True) from None


def located(settings: "Settings") -> "Settings":
    """The settings with the addresses of both stores in them, which must be given or running."""
    found = known(settings)
    if not (found.database_url and found.redis_url):
        raise Failed(
            "no stores are given and none are running here",
            "Set AGENTOS_DATABASE_URL and AGENTOS_REDIS_URL; `python -m agentos up` brings stores of its own.",
        )
    return settings.model_copy(update={"database_url": found.database_url, "redis_url": found.redis_url})


@asynccontextmanager
async def database_of(settings: "Settings") -> AsyncIterator["Database"]:
    """A pool over the database, which must be at the revision of this code."""
    async with reachable(settings) as addresses, opened(addresses) as database:
        yield database


@asynccontextmanager
async def opened(addresses: "Addresses") -> AsyncIterator["Database"]:
    """The same where the addresses are known."""
    from db.database import Database
    from db.migrations.runner import current, head

    revision = await current(addresses.database_url)
    if revision is None:
        raise Failed(
            "no AgentOS was ever started with this database",
            "If one runs from another folder, name that folder: AGENTOS_DATA_DIR=…; `python -m agentos up` starts one.",
        )
    if revision != head():
        raise Failed(
            f"the database is at revision {revision or 'none'}, this code needs {head()}",
            "Run `python -m agentos migrate` first.",
        )
    database = Database.connect(addresses.database_url, size=4, application="agentos command")
    try:
        yield database
    finally:
        await database.close()


async def user_of(database: "Database", who: str | None, tenant: str) -> "User":
    """The user of an id or email address, locked out or not; without either the tenant's first administrator."""
    from uuid import UUID

    from db import users

    async with database.transaction(tenant) as tx:
        try:
            found = await (users.by_id(tx, UUID(who)) if who and "@" not in who else users.by_email(tx, who or ""))
        except ValueError:
            raise Failed(f"{who} is neither an id nor an email address", wrong_usage=True) from None
        if who is None:
            found = _first_admin(await users.everybody(tx))
    if found is None:
        raise Failed(
            f"there is no user {who} in the tenant {tenant}" if who else f"the tenant {tenant} has no administrator",
            "`python -m agentos user list` shows who there is and where, `--tenant` names another tenant, "
            "`user add` makes a user.",
        )
    return found


async def entrant_of(database: "Database", who: str | None, tenant: str) -> "User":
    """The same, who may come in."""
    found = await user_of(database, who, tenant)
    if found.disabled_at:
        raise Failed(f"{found.email} is locked out", "`python -m agentos user list` shows who is not.")
    return found


def _first_admin(people: Iterable["User"]) -> "User | None":
    """Who answers for commands that name nobody: the one that `up` made, else who really signs in, else the oldest."""
    from agentos.first_run import FIRST_ADMIN
    from db.models.identity import Role

    admins = [user for user in people if user.role is Role.ADMIN and not user.disabled_at]
    # A seeded history has administrators too, older than anybody who was ever here.
    return min(
        admins, key=lambda user: (user.email != FIRST_ADMIN, user.last_login_at is None, user.created_at), default=None
    )


def token_for(settings: "Settings", user: "User", *, role: str | None = None, ttl: int | None = None) -> str:
    """An access token signed with the keys of this installation."""
    from agentos.keys import key_ring
    from db.models.identity import Role
    from guards.tokens import LONGEST_LIFE, Tokens

    return Tokens(key_ring(settings), issuer=settings.jwt_issuer).issued(
        user_id=user.id,
        tenant=user.tenant_id,
        role=Role(role) if role else user.role,
        token_version=user.token_version,
        life=timedelta(seconds=ttl) if ttl else LONGEST_LIFE,
    )


@asynccontextmanager
async def client_of(
    settings: "Settings", *, url: str | None, token: str | None, user: str | None, tenant: str
) -> AsyncIterator["Client"]:
    """A signed-in client of a running API.

    Args:
        url: where the API is; without it that of the AgentOS which runs in the data directory.
        token: an access token; without it one is made for `user` with the keys of this installation.
    """
    from agentos.client import Client

    base = address_of(settings, url)
    if token is not None:
        async with Client(base, lambda: token) as client:
            yield client
        return
    async with database_of(settings) as database:
        known = await entrant_of(database, user, tenant)
    # Made afresh for each call: watching a job may take longer than a token lives.
    async with Client(base, lambda: token_for(settings, known)) as client:
        yield client


def address_of(settings: "Settings", url: str | None = None) -> str:
    """Where the API answers: as given, else as the `up` of this data directory wrote it down, else by the settings."""
    if url is not None:
        if not _leads_somewhere(url):
            raise Failed(f"{url} is not the address of an API", "Give it as http://HOST:PORT.", wrong_usage=True)
        return url.rstrip("/")

    from agentos.whereabouts import announced_url

    return announced_url(Path(settings.data_dir)) or settings.base_url


def _leads_somewhere(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


async def require_tenant(tx: "Transaction", tenant: str) -> None:
    """Refuse the name of a tenant that there is none of."""
    from db import users

    if tenant not in await users.tenant_ids(tx):
        raise Failed(f"there is no tenant {tenant}", f"`python -m agentos tenant add {tenant}` makes it.")
