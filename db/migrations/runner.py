"""Running migrations: under an advisory lock, so that two starting servers cannot both try.

A migration that cannot get its table locks within `lock_timeout` gives up instead of queueing behind a long reader and
stopping everybody behind itself; it changed nothing and can be run again.

Every process asks which revision is needed, and hardly one migrates: who does loads Alembic then.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.database import driver_url, in_the_way
from db.models import metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

SCRIPTS = Path(__file__).parent

CONNECT_S = 10
"""How long a server may take to let somebody in; commands begin by asking what revision it is at."""

LOCK_ID = 4_208_211_960
"""The advisory lock's number; the same in every version, so that old and new servers exclude each other."""

LOCK_TIMEOUT = timedelta(seconds=5)
"""How long a migration waits for a table that somebody else is using."""

TURN_TIMEOUT = timedelta(seconds=60)
"""How long a runner waits for another one to be done."""

T = TypeVar("T")


class MigrationBusy(Exception):
    """Another process is migrating, or a long transaction holds a table; nothing was changed, try again."""


def head() -> str:
    """The revision this code needs: the highest of the numbers that the files of migrations begin with."""
    return max(path.name.partition("_")[0] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


async def current(url: str) -> str | None:
    """The revision a database is at, or None when it was never migrated."""
    return await _run(url, _revision)


class NoRevision(ValueError):
    """There is no such revision, or it is not ahead of where the database is."""


async def pending(url: str, revision: str = "head") -> list[str]:
    """The revisions that `upgrade` would apply, in their order.

    Raises:
        NoRevision: there is none of that name, or the database is past it.
    """
    from alembic.util import CommandError

    script, before = _scripts(), await current(url)
    try:
        wanted = script.get_revision(revision)
        applied = {each.revision for each in script.iterate_revisions(before, "base")} if before else set()
        if wanted is None or wanted.revision in applied - {before}:
            raise NoRevision(f"the database is past {revision} already, at {before}")
        return [each.revision for each in script.iterate_revisions(wanted.revision, before or "base")][::-1]
    except CommandError as error:
        raise NoRevision(f"there is no revision {revision}") from error


async def upgrade(
    url: str,
    revision: str = "head",
    *,
    turn_timeout: timedelta = TURN_TIMEOUT,
    lock_timeout: timedelta = LOCK_TIMEOUT,
) -> str:
    """Bring a database to `revision` and say which one it is at now; each migration is a transaction of its own.

    Raises:
        MigrationBusy: another runner or a table lock was in the way for too long.
    """
    if revision == "head" and await current(url) == head():
        return head()

    from alembic import command

    return await _locked(url, lambda config: command.upgrade(config, revision), turn_timeout, lock_timeout)


async def downgrade(
    url: str, revision: str, *, turn_timeout: timedelta = TURN_TIMEOUT, lock_timeout: timedelta = LOCK_TIMEOUT
) -> str:
    """Take a database back to `revision` ("base" removes everything) and say where it is now.

    Raises:
        MigrationBusy: another runner or a table lock was in the way for too long.
    """
    from alembic import command

    return await _locked(url, lambda config: command.downgrade(config, revision), turn_timeout, lock_timeout)


async def differences(url: str) -> list[object]:
    """What the models say that the database does not, and the other way round; empty when they agree."""
    from alembic import autogenerate
    from alembic.runtime.migration import MigrationContext

    def compare(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(autogenerate.compare_metadata(context, metadata))

    return await _run(url, compare)


async def _locked(
    url: str, action: Callable[["Config"], object], turn_timeout: timedelta, lock_timeout: timedelta
) -> str:
    def migrate(connection: sa.Connection) -> str:
        connection.execute(sa.text(f"SET lock_timeout = {_ms(turn_timeout)}"))
        connection.execute(sa.text("SELECT pg_advisory_lock(:id)"), {"id": LOCK_ID})
        try:
            connection.execute(sa.text(f"SET lock_timeout = {_ms(lock_timeout)}"))
            connection.commit()
            config = _config()
            config.attributes["connection"] = connection
            action(config)
            connection.commit()
            return _revision(connection) or "base"
        finally:
            connection.rollback()
            connection.execute(sa.text("SELECT pg_advisory_unlock(:id)"), {"id": LOCK_ID})

    try:
        return await _run(url, migrate)
    except DBAPIError as error:
        if in_the_way(error):
            raise MigrationBusy("another migration or a long transaction is in the way; try again") from error
        raise


async def _run(url: str, action: Callable[[sa.Connection], T]) -> T:
    engine = create_async_engine(driver_url(url), poolclass=NullPool, connect_args={"timeout": CONNECT_S})
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(action)
    finally:
        await engine.dispose()


def _revision(connection: sa.Connection) -> str | None:
    if connection.scalar(sa.text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _scripts() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    return config


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
