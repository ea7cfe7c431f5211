"""What a client sends becomes a payload, or a message that names the field; what of it is kept, its fields say."""

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from msgspec import Meta

from db.rows import Row
from guards.errors import BadInput, NotFound
from resolvers.actions import reading
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.contract import KEPT, Action, Empty, JobId, Payload, View


class Shade(StrEnum):
    """A word of ours."""

    LIGHT = "light"


class Inner(Payload, frozen=True, kw_only=True):
    """A part."""

    size: Annotated[int, Meta(ge=1)] = 1


class Whole(Payload, frozen=True, kw_only=True):
    """One field of each kind."""

    job_id: JobId
    lines: Annotated[int, Meta(ge=1, le=10)] = 5
    share: float = 1.0
    on: Annotated[bool, Meta(extra={"words": {"enter": True, "exit": False}})] = False
    shade: Shade | None = None
    tag: Annotated[str, Meta(max_length=4, extra=KEPT)] = ""
    note: str | None = None
    since: datetime | None = None
    ids: list[UUID] = msgspec.field(default_factory=list)
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    inner: Inner = Inner()


class Nothing(Row, frozen=True):
    """No answer."""


ACTION: Action[Whole, Nothing] = Action(
    name="job.cancel",
    view=View.EXTRA,
    payload=Whole,
    result=Nothing,
    doc="",
    aliases={"jobId": "job_id", "count": "lines"},
)
JOB = UUID(int=7)


def read(*, older: bool = False, **given: Any) -> Whole:
    return reading.payload(ACTION, {"job_id": str(JOB), **given}, older=older)


def test_what_is_left_out_or_null_is_as_usual() -> None:
    assert read() == read(lines=None, note=None, inner=None, tag=None)
    assert (JOB, 5, False, Inner()) == (read().job_id, read().lines, read().on, read().inner)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lines": 11}, "lines: expected a whole number <= 10"),
        ({"lines": "5"}, "lines: expected a whole number, got text"),
        ({"lines": True}, "lines: expected a whole number, got true or false"),
        ({"tag": "abcde"}, "tag: expected text of length <= 4"),
        ({"shade": "dark"}, "shade: invalid enum value 'dark'"),
        ({"inner": {"size": 0}}, "inner.size: expected a whole number >= 1"),
        ({"ids": ["x"]}, "ids[0]: invalid UUID"),
        ({"colour": 1}, "colour: there is no such field"),
        ({"colour": None}, "colour: there is no such field"),
        ({"jobId": str(JOB)}, "jobId: there is no such field"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(**given)

    assert told == str(refused.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadInput, match="jobId: it is needed"):
        reading.payload(ACTION, {}, older=False)


@pytest.mark.parametrize("given", [[], "text", 5, None])
def test_what_is_no_object_is_refused(given: Any) -> None:
    with pytest.raises(BadInput, match="payload: it must be an object"):
        reading.payload(ACTION, given, older=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [("7", "there is no job 7"), ("x" * 99, f"there is no job {'x' * 50}"), (" ", "there is no job without an id")],
)
def test_what_no_id_looks_like_names_nothing_that_there_is(given: str, told: str) -> None:
    with pytest.raises(NotFound) as refused:
        read(job_id=given)

    assert told == str(refused.value)


def test_older_clients_may_say_it_in_their_own_way() -> None:
    read = reading.payload(
        ACTION, {"jobId": str(JOB), "count": "7", "share": "0.5", "on": "enter", "colour": 1}, older=True
    )

    assert (JOB, 7, 0.5, True) == (read.job_id, read.lines, read.share, read.on)


def test_an_older_name_counts_only_where_the_present_one_says_nothing() -> None:
    other = str(uuid4())

    assert JOB == reading.payload(ACTION, {"job_id": str(JOB), "jobId": other}, older=True).job_id
    assert JOB == reading.payload(ACTION, {"job_id": None, "jobId": str(JOB)}, older=True).job_id


def test_what_may_be_kept_is_chosen_by_field_and_not_by_value() -> None:
    canary = "alice@example.org"
    asked = read(
        tag="abc",
        note=canary,
        shade="light",
        since="2026-01-01T00:00:00Z",
        options={"mail": canary},
        ids=[str(JOB)],
    )

    assert {
        "job_id": str(JOB),
        "lines": 5,
        "share": 1.0,
        "on": False,
        "shade": "light",
        "tag": "abc",
        "since": "2026-01-01T00:00:00Z",
        "ids": [str(JOB)],
    } == reading.kept(asked)
    assert ("note", "options", "inner") == reading.redacted(Whole)
    assert datetime(2026, 1, 1, tzinfo=UTC) == asked.since


def test_only_what_asks_for_nothing_may_be_left_out_as_a_whole() -> None:
    assert (True, True, False) == (reading.needless(Empty), reading.needless(Inner), reading.needless(Whole))


@pytest.mark.parametrize("action", CATALOGUE.values(), ids=lambda action: action.name)
def test_the_other_names_of_an_action_stand_for_fields_that_it_has(action: Action[Any, Any]) -> None:
    known = set(reading.fields(action.payload))

    assert set(action.aliases.values()) <= known
    assert not known & set(action.aliases)


def test_an_older_client_may_use_the_names_of_graphql() -> None:
    """Otherwise a `dryRun` would be passed over as unknown, and the thing done."""
    assert JOB == reading.payload(ACTION, {"jobId": str(JOB)}, older=True).job_id


class Exact(Payload, frozen=True, kw_only=True):
    """Values whose edges are easily passed over."""

    word: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    at: Annotated[datetime, Meta(tz=True)] | None = None


EXACT: Action[Any, Any] = replace(ACTION, payload=Exact)  # type: ignore[arg-type]  # of another payload


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"word": "evil\n"}, "word: no line break is taken at its end"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at: the time is too far away"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "at: the time is too far away"),
    ],
)
def test_edges_that_libraries_pass_over_are_kept(given: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as refused:
        reading.payload(EXACT, given, older=False)

    assert told == str(refused.value)
