"""Lists, the Relay way: edges with cursors that stay good however many rows are inserted meanwhile."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Generic, TypeVar

import strawberry

from db.pages import MOST, MOST_SKIPPED, Order, Page, Window
from guards.errors import BadInput
from schema.fields import described, nested
from schema.scalars import BigInt

N = TypeVar("N")


@strawberry.enum(description="Which end of a list comes first.")
class Direction(StrEnum):
    """Which end of a list comes first."""

    ASC = "asc"
    DESC = "desc"


@described
class PageInfo:
    """Where a page lies within its list."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@described
class Edge(Generic[N]):
    """One row of a list and its place."""

    cursor: str
    """Give it as `after` or `before` to go on from here."""

    node: N


@described
class Connection(Generic[N]):
    """A page of a list."""

    edges: list[Edge[N]]
    page_info: PageInfo
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @nested()
    def nodes(self) -> list[N]:
        """The rows alone, for who needs no cursors."""
        return [edge.node for edge in self.edges]

    @nested(BigInt)
    async def total_count(self) -> int:
        """How many rows the whole list has; counted only when asked for."""
        return await self.count()


def connection(page: Page[Any], count: Callable[[], Awaitable[int]]) -> Connection[Any]:
    """A page as GraphQL shows it; `count` is called if the total is selected."""
    return Connection(
        edges=[Edge(cursor=cursor, node=row) for row, cursor in zip(page.items, page.cursors, strict=True)],
        page_info=PageInfo(
            has_next_page=page.more_after,
            has_previous_page=page.more_before,
            start_cursor=page.cursors[0] if page.cursors else None,
            end_cursor=page.cursors[-1] if page.cursors else None,
        ),
        count=count,
    )


def window(
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    offset: int | None = None,
) -> Window:
    """Which part of a list was asked for; the first twenty when nothing is said.

    Args:
        offset: how many rows are skipped, for clients that count pages; rows that others insert meanwhile shift them.

    Raises:
        BadInput: the parts contradict each other, or a number is not one of 1..100.
    """
    backward = last is not None or before is not None
    if backward and (first is not None or after is not None):
        raise BadInput("first, after: cannot be used together with last, before")
    name, size = ("last", last) if backward else ("first", first)
    if size is not None and not 1 <= size <= MOST:
        raise BadInput(f"{name}: 1 to {MOST} rows are given at once, {size} were asked for")
    if offset is not None and (backward or after is not None):
        raise BadInput("offset: cannot be used together with after, last, before")
    if offset is not None and not 0 <= offset <= MOST_SKIPPED:
        raise BadInput(f"offset: 0 to {MOST_SKIPPED} rows can be skipped, not {offset}: go on with after")
    return Window(size=size or 20, cursor=before if backward else after, backward=backward, skipped=offset or 0)


def order(field: StrEnum, direction: Direction) -> Order:
    """An order over one column, named by the value of the enum."""
    return Order(column=field.value, descending=direction is Direction.DESC)
