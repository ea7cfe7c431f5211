"""From the columns of a table to frozen rows: `Shape(Job, tables.jobs)` reads just the columns that `Job` names."""

from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa

from db.database import Transaction

R = TypeVar("R", bound="Row")


class Row(msgspec.Struct, frozen=True):
    """A row as the rest of the house sees it; its fields are named as the columns they are read from."""


class Shape(Generic[R]):
    """Which columns make one kind of row."""

    def __init__(self, kind: type[R], table: sa.Table, **computed: sa.ColumnElement[Any]) -> None:
        self.kind = kind
        self.table = table
        self.columns: list[sa.ColumnElement[Any]] = [
            computed[name].label(name) if name in computed else table.c[name] for name in kind.__struct_fields__
        ]

    def select(self) -> sa.Select[Any]:
        """All of the table's rows that the transaction may see; narrow it with `where`."""
        return sa.select(*self.columns)

    async def first(self, tx: Transaction, statement: sa.Executable) -> R | None:
        """The first row a statement gives, or None; the statement must yield `columns`."""
        row = (await tx.execute(statement)).first()
        return None if row is None else self.kind(*row)

    async def all(self, tx: Transaction, statement: sa.Executable) -> list[R]:
        """Every row a statement gives, in its order; the statement must yield `columns`."""
        kind = self.kind
        return [kind(*row) for row in await tx.rows(statement)]
