"""Keyset pages: the next rows after the one last seen, however many were inserted meanwhile.

A cursor holds the value of the ordering column and the id of a row, so a page costs the same at the start and at the
end of a table. A cursor made for one order is refused for another. Who counts pages may skip rows instead, which costs
what is skipped.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa

from db.database import Transaction
from db.rows import R, Shape

T = TypeVar("T")
MOST = 100
MOST_SKIPPED: Final = 10_000
"""Rows that a window may skip: each of them is read, where a cursor costs nothing."""

_WHOLE: Final = {sa.SmallInteger: 15, sa.BigInteger: 63, sa.Integer: 31}
"""Whole numbers by the bits that a column has for them beside the sign; a type before the one it derives from."""


class BadCursor(ValueError):
    """The cursor was not made by this list in this order."""


class Order(msgspec.Struct, frozen=True):
    """How a list is sorted; ties are broken by id in the same direction."""

    column: str
    descending: bool = True


class Window(msgspec.Struct, frozen=True):
    """Which part of a list is wanted: the first rows after a cursor, or the last ones before it."""

    size: int = 20
    """How many rows at most, 1..100."""

    cursor: str | None = None
    """Where to start, exclusive; None starts at the edge."""

    backward: bool = False
    """True for the rows before the cursor, still given in the list's own order."""

    skipped: int = 0
    """How many rows at the edge are left out, for those who count pages; only without a cursor."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows of a list, each with its cursor."""

    items: list[T]
    cursors: list[str]
    more_after: bool
    more_before: bool


def cursor_of(order: Order, value: Any, key: UUID | str | int) -> str:
    """The opaque place of one row in one order."""
    packed = msgspec.msgpack.encode((order.column, order.descending, value, key))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def place_of(order: Order, cursor: str, *, value: sa.ColumnElement[Any], key: sa.ColumnElement[Any]) -> tuple[Any, Any]:
    """The ordering value and id that a cursor stands for, such as the two columns can hold.

    Raises:
        BadCursor: it is damaged, or was made for another order.
    """
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        column, descending, found, row = msgspec.msgpack.decode(packed, type=tuple[str, bool, Any, Any])
        place = _fitting(found, value), _fitting(row, key)
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise BadCursor("the cursor is damaged; start again without it") from error
    if (column, descending) != (order.column, order.descending):
        raise BadCursor("the cursor belongs to another order; start again without it")
    return place


async def page(
    tx: Transaction,
    shape: Shape[R],
    *,
    where: Sequence[sa.ColumnElement[bool]],
    order: Order,
    window: Window,
    key: str = "id",
) -> Page[R]:
    """One page of a table, narrowed by `where`; the ordering column must not be null.

    Raises:
        BadCursor: the window's cursor is not one of this list in this order.
    """
    column, row_id = shape.table.c[order.column], shape.table.c[key]
    ascending = order.descending == window.backward
    wanted = list(where)
    if window.cursor is not None:
        place = place_of(order, window.cursor, value=column, key=row_id)
        here, there = (
            sa.tuple_(column, row_id),
            sa.tuple_(*(sa.literal(v, c.type) for v, c in zip(place, (column, row_id), strict=True))),
        )
        wanted.append(here > there if ascending else here < there)
    size = max(1, min(window.size, MOST))
    statement = (
        shape.select()
        .where(*wanted)
        .order_by(column.asc() if ascending else column.desc(), row_id.asc() if ascending else row_id.desc())
        .offset(window.skipped or None)
        .limit(size + 1)
    )
    rows = await shape.all(tx, statement)
    more, rows = len(rows) > size, rows[:size]
    if window.backward:
        rows.reverse()
    return Page(
        items=rows,
        cursors=[cursor_of(order, getattr(row, order.column), getattr(row, key)) for row in rows],
        more_after=window.cursor is not None if window.backward else more,
        more_before=more if window.backward else window.cursor is not None or window.skipped > 0,
    )


async def total(tx: Transaction, shape: Shape[R], where: Sequence[sa.ColumnElement[bool]]) -> int:
    """How many rows a list has in all; scans what `where` selects, so ask only when it is shown."""
    counted: int = await tx.scalar(sa.select(sa.func.count()).select_from(shape.table).where(*where))
    return counted


def during(
    moment: sa.ColumnElement[Any], after: datetime | None, before: datetime | None
) -> list[sa.ColumnElement[bool]]:
    """That a moment lies within a stretch of time: from `after`, inclusive, to `before`, exclusive."""
    found: list[sa.ColumnElement[bool]] = []
    if after is not None:
        found.append(moment >= after)
    if before is not None:
        found.append(moment < before)
    return found


# Whatever PostgreSQL could not even take as a parameter must be refused here: it would fail the whole call there.
def _fitting(found: Any, column: sa.ColumnElement[Any]) -> Any:
    kind = column.type.python_type
    if kind is datetime:
        return msgspec.convert(found, Annotated[datetime, msgspec.Meta(tz=True)]).astimezone(UTC)
    if kind is int:
        bits = next(bits for whole, bits in _WHOLE.items() if isinstance(column.type, whole))
        return msgspec.convert(found, Annotated[int, msgspec.Meta(ge=-(2**bits), le=2**bits - 1)])
    if kind is str and "\0" in str(found):
        raise ValueError("no text in PostgreSQL has a zero character")
    return msgspec.convert(found, kind)
