"""The columns that tables share, written once: keys, tenants, times, enums."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from uuid_utils.compat import uuid7

metadata = sa.MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

NOW = sa.func.now()


class Xid8(sa.types.UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id; half of an event's cursor."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


# Reflection asks this map; without the entry every comparison with a database warns of an unknown type.
pg.base.ischema_names["xid8"] = Xid8


def enum(kind: type[StrEnum], name: str) -> pg.ENUM:
    """A native enum whose labels are the values (`queued`), not the Python names (`QUEUED`)."""
    return pg.ENUM(kind, name=name, values_callable=lambda members: [str(m.value) for m in members], metadata=metadata)


def key() -> sa.Column[UUID]:
    """A UUIDv7 made here, so that it is time-ordered on every PostgreSQL from 15 on."""
    return sa.Column("id", sa.Uuid(), primary_key=True, default=uuid7)


def tenant(*, primary_key: bool = False) -> sa.Column[str]:
    """Whose row it is; every table that has it is under forced row-level security."""
    return sa.Column(
        "tenant_id",
        sa.Text(),
        sa.ForeignKey("tenants.id", ondelete="CASCADE"),
        nullable=False,
        primary_key=primary_key,
    )


def moment(name: str, *, now: bool = False) -> sa.Column[datetime]:
    """A UTC time; set by the database when `now`, else nullable."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=NOW if now else None)


def text(name: str, *, default: str | None = None) -> sa.Column[str]:
    """Required text, with a default of the database where one is given."""
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def optional(name: str) -> sa.Column[str | None]:
    """Text that may be absent."""
    return sa.Column(name, sa.Text(), nullable=True)


def count(name: str, *, default: int = 0, wide: bool = False) -> sa.Column[int]:
    """A whole number that starts at `default`."""
    return sa.Column(
        name, sa.BigInteger() if wide else sa.Integer(), nullable=False, server_default=sa.text(str(default))
    )


def flag(name: str, *, default: bool) -> sa.Column[bool]:
    """A boolean with a default of the database."""
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.text(str(default).lower()))


def measure(name: str, *, required: bool = False) -> sa.Column[float]:
    """A measured number; null where it could not be measured."""
    return sa.Column(name, sa.Double(), nullable=not required)


def document(name: str, *, default: str = "{}") -> sa.Column[Any]:
    """A JSON document, never null."""
    return sa.Column(name, pg.JSONB(), nullable=False, server_default=sa.text(f"'{default}'::jsonb"))
