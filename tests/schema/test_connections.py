"""Pages: complete and without repetition whatever is inserted meanwhile, and cursors that are not ours refused."""

import base64
from typing import Any

import msgspec
import pytest

from db import jobs
from db.database import Database
from db.jobs import NewJob
from db.models.identity import Role
from db.pages import Window
from db.users import User
from guards.errors import BadInput
from schema.connections import window
from tests.schema.conftest import Ask

People = dict[Role, User]
PAGE = """
query($first: Int, $after: String, $last: Int, $before: String, $orderBy: JobOrder) {
  jobs(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
    totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { title } }
  }
}
"""


async def made(database: Database, owner: User, *titles: str) -> None:
    """Queue jobs, each in a moment of its own."""
    for title in titles:
        async with database.transaction(owner.tenant_id) as tx:
            await jobs.add(tx, NewJob(user_id=owner.id, source_url="http://a", title=title, chain=["clipper"]))


def titles(page: dict[str, Any]) -> list[str]:
    return [edge["node"]["title"] for edge in page["edges"]]


async def page(ask: Ask, user: User, **variables: Any) -> dict[str, Any]:
    answer = await ask(user, PAGE, **variables)
    assert answer.errors is None
    assert answer.data is not None
    found: dict[str, Any] = answer.data["jobs"]
    return found


@pytest.mark.parametrize("field", ["CREATED_AT", "UPDATED_AT", "PRIORITY"])
async def test_paging_forward_neither_skips_nor_repeats_while_others_insert(
    field: str, ask: Ask, database: Database, people: People
) -> None:
    owner = people[Role.USER]
    await made(database, owner, *"abcdefg")
    order = {"field": field, "direction": "DESC"}

    seen, after = [], None
    while True:
        found = await page(ask, owner, first=2, after=after, orderBy=order)
        seen += titles(found)
        if not found["pageInfo"]["hasNextPage"]:
            break
        after = found["pageInfo"]["endCursor"]
        await made(database, owner, "later")

    assert list("gfedcba") == [title for title in seen if title != "later"]
    assert len(seen) == len("abcdefg")


async def test_paging_backward_gives_the_same_rows_in_the_same_order(
    ask: Ask, database: Database, people: People
) -> None:
    owner = people[Role.USER]
    await made(database, owner, *"abcde")

    last = await page(ask, owner, last=2)
    before = await page(ask, owner, last=2, before=last["pageInfo"]["startCursor"])
    first = await page(ask, owner, last=2, before=before["pageInfo"]["startCursor"])

    assert [["b", "a"], ["d", "c"], ["e"]] == [titles(last), titles(before), titles(first)]
    assert [True, True, False] == [each["pageInfo"]["hasPreviousPage"] for each in (last, before, first)]
    assert [5, 5, 5] == [each["totalCount"] for each in (last, before, first)]


async def test_who_counts_pages_gets_the_same_rows(ask: Ask, database: Database, people: People) -> None:
    owner = people[Role.USER]
    await made(database, owner, *"abcde")
    counted = (
        "query($offset: Int) { jobs(first: 2, offset: $offset) { pageInfo { hasNextPage } edges { node { title } } } }"
    )

    pages = [(await ask(owner, counted, offset=offset)).data or {} for offset in (None, 0, 2, 4, 5)]

    assert [["e", "d"], ["e", "d"], ["c", "b"], ["a"], []] == [titles(each["jobs"]) for each in pages]
    assert [True, True, True, False, False] == [each["jobs"]["pageInfo"]["hasNextPage"] for each in pages]


async def test_rows_alone_are_those_of_the_edges(ask: Ask, database: Database, people: People) -> None:
    owner = people[Role.USER]
    await made(database, owner, *"abc")

    answer = await ask(owner, "{ jobs(first: 2) { nodes { title } edges { node { title } } } }")

    assert answer.data is not None
    jobs_of_page = answer.data["jobs"]
    assert [{"title": "c"}, {"title": "b"}] == jobs_of_page["nodes"]
    assert ["c", "b"] == titles(jobs_of_page)


async def test_an_empty_list_has_no_cursors(ask: Ask, people: People) -> None:
    info = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}

    assert {"totalCount": 0, "pageInfo": info, "edges": []} == await page(ask, people[Role.USER])


async def test_cursors_that_are_not_of_this_list_are_refused(ask: Ask, database: Database, people: People) -> None:
    """Cut short, written by hand, of another order, or of values that PostgreSQL could not compare."""
    owner = people[Role.USER]
    await made(database, owner, "a", "b")
    good = (await page(ask, owner, first=1))["pageInfo"]["endCursor"]
    other = (await page(ask, owner, first=1, orderBy={"field": "PRIORITY"}))["pageInfo"]["endCursor"]

    def forged(*parts: object) -> str:
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(parts)).decode().rstrip("=")

    for cursor in (
        "",
        "x",
        "é",
        good[:-3],
        good[3:],
        other,
        forged("created_at", True, "soon", "7"),
        forged("created_at", True, None, None),
        forged("title", True, "a", "00000000-0000-7000-8000-000000000000"),
        forged("created_at; DROP TABLE jobs", True, "2026-01-01T00:00:00Z", "00000000-0000-7000-8000-000000000000"),
        forged(),
    ):
        answer = await ask(owner, PAGE, first=1, after=cursor)
        assert ["VALIDATION_ERROR"] == [(error.extensions or {})["code"] for error in answer.errors or []], cursor


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, Window(size=20)),
        ({"first": 100, "after": "c"}, Window(size=100, cursor="c")),
        ({"last": 1, "before": "c"}, Window(size=1, cursor="c", backward=True)),
        ({"before": "c"}, Window(size=20, cursor="c", backward=True)),
        ({"offset": 10_000}, Window(size=20, skipped=10_000)),
        ({"first": 5, "offset": 0}, Window(size=5)),
    ],
)
def test_a_window_is_what_was_asked_for(asked: dict[str, Any], expected: Window) -> None:
    assert expected == window(**asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"first": 101}, "first: 1 to 100 rows are given at once, 101 were asked for"),
        ({"first": 0}, "first: 1 to 100 rows are given at once, 0 were asked for"),
        ({"last": -1}, "last: 1 to 100 rows are given at once, -1 were asked for"),
        ({"first": 1, "last": 1}, "first, after: cannot be used together with last, before"),
        ({"after": "a", "before": "b"}, "first, after: cannot be used together with last, before"),
        ({"offset": 0, "after": "a"}, "offset: cannot be used together with after, last, before"),
        ({"offset": 0, "last": 1}, "offset: cannot be used together with after, last, before"),
        ({"offset": -1}, "offset: 0 to 10000 rows can be skipped, not -1: go on with after"),
        ({"offset": 10_001}, "offset: 0 to 10000 rows can be skipped, not 10001: go on with after"),
    ],
)
def test_a_window_that_contradicts_itself_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as refusal:
        window(**asked)

    assert message == str(refusal.value)
