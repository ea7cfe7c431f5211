"""Shapes: what a type and a selection of it look like in JSON."""

from typing import Any, NotRequired, TypedDict

import pytest
from graphql import parse

from db.models.work import JobStatus
from schema.rest.json_schema import REF, nullable, without_null
from schema.rest.shapes import Shapes
from schema.root import schema

CORE = schema._schema


def answered(text: str) -> Any:
    return Shapes(CORE).answer(parse(text))["properties"]


def test_a_field_is_called_as_its_alias_and_may_be_null_as_its_type_may() -> None:
    job = answered("query A { job(id: 1) { id stopped_at: completedAt retry_count: retryCount } }")["job"]

    assert ["object", "null"] == job["type"]
    assert ["id", "stopped_at", "retry_count"] == list(job["properties"])
    assert ["id", "stopped_at", "retry_count"] == job["required"]
    assert ["string", "null"] == job["properties"]["stopped_at"]["type"]
    assert "integer" == job["properties"]["retry_count"]["type"]


def test_enums_are_components_by_the_values_that_rest_shows() -> None:
    shapes = Shapes(CORE)
    status = shapes.answer(parse("query A { job(id: 1) { status } }"))["properties"]["job"]["properties"]["status"]

    assert f"{REF}JobStatus" == status["$ref"]
    assert [member.value for member in JobStatus] == shapes.components["JobStatus"]["enum"]


def test_the_same_field_asked_for_in_parts_has_all_of_them() -> None:
    whole = answered("query A { jobs { edges { cursor } } jobs { edges { node { id } } } }")["jobs"]

    assert ["cursor", "node"] == list(without_null(whole)[0]["properties"]["edges"]["items"]["properties"])


def test_fragments_are_opened_where_they_fit_and_what_may_be_several_things_is_one_of_them() -> None:
    text = "query A { node(id: 1) { __typename id ... on Job { title } ...C } } fragment C on Clip { url: downloadUrl }"
    node = answered(text)["node"]

    shapes = {each["properties"]["__typename"]["const"]: each for each in node["anyOf"][0]["oneOf"]}
    assert {"type": "null"} == node["anyOf"][1]
    assert ["__typename", "id", "title"] == list(shapes["Job"]["properties"])
    assert ["__typename", "id", "url"] == list(shapes["Clip"]["properties"])


def test_what_may_be_skipped_is_not_always_there() -> None:
    job = answered("query A($x: Boolean!) { job(id: 1) { id title @include(if: $x) } }")["job"]

    assert ["id"] == job["required"]


def test_a_variable_is_what_its_type_and_the_input_it_stands_for_say() -> None:
    text = "mutation A($id: ID!, $level: Int) { jobPriority(input: { jobId: $id, priority: $level }) { jobId } }"
    variables = Shapes(CORE).variables(parse(text))

    assert "string" == variables["id"]["type"]
    assert ("integer", 0, 10) == tuple(variables["level"][word] for word in ("type", "minimum", "maximum"))


class Entry(TypedDict):
    """One."""

    title: str
    """What it is called."""

    status: JobStatus
    parts: NotRequired[list[int] | None]


def test_a_typed_dictionary_is_described_with_the_sentences_under_its_fields() -> None:
    shapes = Shapes(CORE)

    assert {"$ref": f"{REF}Entry"} == shapes.of(Entry)
    entry = shapes.components["Entry"]
    assert ["status", "title"] == sorted(entry["required"])
    assert "What it is called." == entry["properties"]["title"]["description"]
    assert {"type": ["array", "null"], "items": {"type": "integer"}} == entry["properties"]["parts"]
    assert [member.value for member in JobStatus] == shapes.components["JobStatus"]["enum"]


def test_what_is_found_along_a_path_may_be_null_where_something_on_the_way_may() -> None:
    shapes = Shapes(CORE)
    inner = {"type": ["object", "null"], "properties": {"id": {"type": "string"}}}

    assert {"type": ["string", "null"]} == shapes.at({"properties": {"data": inner}}, ("data", "id"))


@pytest.mark.parametrize("shape", [{"type": "string"}, {"$ref": "x"}, {"type": "string", "enum": ["a"]}])
def test_null_is_added_once_and_taken_away_again(shape: dict[str, Any]) -> None:
    perhaps = nullable(shape)

    assert (shape, True) == without_null(perhaps)
    assert perhaps == nullable(perhaps)
    assert (shape, False) == without_null(shape)


def test_two_things_of_one_name_are_not_taken_for_each_other() -> None:
    shapes = Shapes(CORE)
    shapes.named("A", {"type": "string"})

    with pytest.raises(AssertionError):
        shapes.named("A", {"type": "integer"})
