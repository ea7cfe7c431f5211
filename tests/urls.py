"""Database addresses, as SQLAlchemy and as asyncpg write them."""

from sqlalchemy.engine import make_url


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def driver_url(url: str) -> str:
    """The address without SQLAlchemy's driver name."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
