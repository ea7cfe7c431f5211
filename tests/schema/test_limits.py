"""What is refused before anything is run, and how little that costs."""

from typing import Any

import pytest
from graphql import get_introspection_query

from db.models.identity import Role
from db.users import User
from schema.limits import storable
from schema.root import schema
from tests.schema.conftest import Ask
from tests.uploading import context_of

People = dict[Role, User]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            "{ jobs(first: 1) { edges { node { clips "
            + "{ job { clips " * 4
            + "{ job { id } }"
            + " } }" * 4
            + " } } } }",
            "the operation is more than 12 fields deep",
        ),
        (
            "{ jobs(first: 100) { edges { node { clips { job { clips { job { id } } } } } } } }",
            None,
        ),
        (
            "{ jobs(first: 100) { edges { node { clips { job { clips { job { steps { id } } } } } } } } }",
            "the operation may answer",
        ),
        (
            "query a { me { id } } query b { me { id } }",
            "the document has 2 operations: say which one by operationName",
        ),
        ('{ job(id: "a\\u0000") { id } }', "text may hold neither NUL nor half of a surrogate pair"),
        ("{ " + " ".join(f"a{n}: me {{ id }}" for n in range(500)) + " }", "Syntax Error: Document contains more than"),
    ],
)
async def test_what_is_too_much_or_unclear_is_refused(
    document: str, message: str | None, ask: Ask, people: People
) -> None:
    answer = await ask(people[Role.ADMIN], document)

    if message is None:
        assert answer.errors is None
    else:
        assert answer.data is None
        assert (answer.errors or [])[0].message.startswith(message)


async def test_one_of_several_operations_runs_when_it_is_named(services: Any) -> None:

    document = "query a { health { status } } query b { other: health { status } }"
    answer = await schema.execute(document, operation_name="b", context_value=context_of(services, None))

    assert {"other": {"status": "OK"}} == answer.data


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "a\udfff"])
async def test_text_that_cannot_be_stored_is_refused_wherever_it_is(text: str, ask: Ask, people: People) -> None:
    document = "query($f: LogFilter) { logs(filter: $f) { totalCount } }"

    answer = await ask(people[Role.ADMIN], document, f={"messageContains": text})

    assert ["BAD_USER_INPUT"] == [(error.extensions or {})["code"] for error in answer.errors or []]
    assert not storable(text)


def test_any_other_text_can_be_stored() -> None:
    assert storable("\x01 \n é 字 🎬 \ufffd \uffff")


async def test_who_is_signed_in_may_ask_for_the_whole_schema(ask: Ask, people: People) -> None:
    asked = get_introspection_query(specified_by_url=True, input_value_deprecation=True)

    stranger, known = await ask(None, asked), await ask(people[Role.USER], asked)

    assert ["UNAUTHENTICATED"] == [(error.extensions or {})["code"] for error in stranger.errors or []]
    assert known.errors is None


async def test_a_stranger_may_speak_of_the_schema(ask: Ask) -> None:
    answer = await ask(None, '{ health { status __typename } } # "__schema"')

    assert answer.errors is None


async def test_the_schema_is_not_told_many_times_over(ask: Ask, people: People) -> None:
    fields = " ".join(f"a{n}: fields {{ name args {{ name }} }}" for n in range(29))

    answer = await ask(people[Role.USER], f"{{ __schema {{ types {{ {fields} }} }} }}")

    assert ["GRAPHQL_VALIDATION_FAILED"] == [(error.extensions or {})["code"] for error in answer.errors or []]


async def test_introspection_does_not_go_round_for_ever(ask: Ask) -> None:
    inner = "name"
    for _ in range(10):
        inner = f"fields {{ type {{ {inner} }} }}"

    answer = await ask(None, f"{{ __schema {{ types {{ {inner} }} }} }}")

    assert {"GRAPHQL_VALIDATION_FAILED"} == {(error.extensions or {})["code"] for error in answer.errors or []}
