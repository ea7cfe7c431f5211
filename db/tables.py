"""The tables as a reader sees them: names, types and what refers to what, taken from the models."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from db.models import metadata
from db.rows import Row


class Column(Row, frozen=True):
    """One column."""

    name: str
    type: str
    """As PostgreSQL names it; an enum by its labels."""

    nullable: bool
    key: bool
    """Whether it is (part of) the primary key."""

    refers_to: str | None
    """The `table.column` it refers to."""


class Described(Row, frozen=True):
    """One table."""

    name: str
    walled: bool
    """Whether its rows belong to tenants and are kept apart by row-level security."""

    columns: list[Column]


def everything() -> list[Described]:
    """All tables by name."""
    return [
        Described(table.name, "tenant_id" in table.c, [_described(column) for column in table.c])
        for table in sorted(metadata.tables.values(), key=lambda table: table.name)
    ]


def _described(column: sa.Column[object]) -> Column:
    refers = next(iter(column.foreign_keys), None)
    return Column(
        name=column.name,
        type=_type(column.type),
        nullable=bool(column.nullable),
        key=column.primary_key,
        refers_to=refers.target_fullname if refers else None,
    )


def _type(kind: sa.types.TypeEngine[object]) -> str:
    if isinstance(kind, postgresql.ENUM):
        return " \\| ".join(kind.enums)
    return kind.compile(postgresql.dialect()).lower()  # type: ignore[no-untyped-call]  # a class made by SQLAlchemy
