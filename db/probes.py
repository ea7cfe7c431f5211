"""Whether PostgreSQL answers, and which revision its tables are at: asked by health checks, without anybody's rows."""

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from db.database import Database

# The version table belongs to the migrations: neither role of a transaction may read it, whoever signed in may.
_OWNER = sa.text("SET LOCAL ROLE NONE")
_REVISION = sa.text("SELECT version_num FROM alembic_version")


async def revision(database: Database) -> str | None:
    """The revision a database is at, or None when it was never migrated.

    Raises:
        DatabaseUnavailable: PostgreSQL could not be reached.
    """
    try:
        async with database.system() as tx:
            await tx.execute(_OWNER)
            found: str | None = await tx.scalar(_REVISION)
            return found
    except ProgrammingError:
        return None
