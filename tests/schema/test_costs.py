"""What an operation is taken to ask for, with the variables it comes with."""

import time

import pytest
from graphql import get_introspection_query, parse
from graphql.language import OperationDefinitionNode

from schema.costs import DEEPEST, MOST_FIELDS, Measure, Size
from schema.plan import Plans
from schema.root import schema

PAGED = "query($n: Int) { jobs(last: $n) { edges { node { id } } } }"


def measured(document: str) -> Size:
    node = parse(document)
    [operation] = [each for each in node.definitions if isinstance(each, OperationDefinitionNode)]
    return Measure(schema._schema, node).of(operation)


def size_of(document: str, **variables: object) -> tuple[int, int]:
    size = measured(document)
    return size.fields.of(variables), size.depth


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ me { id name } }", (3, 2)),
        ("{ jobs { totalCount } }", (2, 2)),
        ("{ jobs(first: 5) { edges { node { id } } } }", (1 + 1 + 5 * 2, 4)),
        ("{ jobs { edges { node { id } } } }", (1 + 1 + 20 * 2, 4)),
        ("{ jobs(first: 5) { nodes { id } } }", (1 + 1 + 5, 3)),
        ("{ jobs(first: 2) { ...page } } fragment page on JobConnection { edges { node { id } } }", (1 + 1 + 2 * 2, 4)),
        ("{ me { ... on User { id } ... { name } } }", (3, 2)),
        ("{ a: me { id } b: me { id } }", (4, 2)),
        ("{ jobs(first: " + "9" * 5000 + ") { edges { node { id } } } }", (1 + 1 + 100 * 2, 4)),
        ("{ no { such } }", (1, 1)),
        ("{ me { ...missing } }", (1, 1)),
        ("{ me { ...round } } fragment round on User { id ...round }", (2, 2)),
    ],
)
def test_a_document_is_measured_by_what_it_may_answer(document: str, expected: tuple[int, int]) -> None:
    assert expected == size_of(document)


def test_fragments_that_double_are_measured_at_once() -> None:
    """Fifty of them would be 2**50 fields, and a walk through each would never end."""
    doubling = " ".join(f"fragment f{n} on Job {{ ...f{n + 1} ...f{n + 1} }}" for n in range(50))
    begun = time.process_time()

    fields, depth = size_of(f'{{ job(id: "1") {{ ...f0 }} }} {doubling} fragment f50 on Job {{ id }}')

    assert (1 + 2**50, 2) == (fields, depth)
    assert time.process_time() - begun < 5


def test_what_a_page_weighs_is_what_the_variables_say() -> None:
    listed = "query($n: Int = 7) { jobs(first: $n) { edges { node { id } } } }"

    assert [16, 202, 202, 202, 2, 16] == [
        size_of(listed, **given)[0]
        for given in (
            {"n": 7},
            {"n": 100},
            {"n": 10**9},
            {"n": "many"},
            {"n": -1},
            {},
        )
    ]


def test_a_default_of_a_variable_stands_for_it() -> None:
    listed = parse("query($n: Int = 7) { jobs(first: $n) { edges { node { id } } } }")
    plan = Plans(schema._schema).of("listed", listed, None)

    assert [16, 8, 16] == [plan.cost({}), plan.cost({"n": 3}), plan.cost({"n": None})]


@pytest.mark.parametrize(
    "document",
    [
        "{ job(id: 1) " + "{ clips { job " * 90 + "{ id } " + "} }" * 90 + " }",
        "{ " + "... { " * 180 + "me { id }" + " }" * 180 + " }",
        "{ job(id: 1) { ...f0 } } "
        + " ".join(f"fragment f{n} on Job {{ {'clips { job { ' * 9} ...f{n + 1} {'} } ' * 9} }}" for n in range(30))
        + " fragment f30 on Job { id }",
    ],
    ids=["fields", "inline fragments", "fragments"],
)
def test_what_is_nested_beyond_all_measure_is_too_deep_and_exhausts_nothing(document: str) -> None:
    assert measured(document).depth > DEEPEST


def test_all_that_graphiql_asks_fits_once() -> None:
    asked = get_introspection_query(specified_by_url=True, input_value_deprecation=True)
    inner = asked.partition("{")[2].rpartition("fragment FullType")[0].rpartition("}")[0]

    assert 0.8 * MOST_FIELDS < size_of(asked)[0] < MOST_FIELDS
    assert size_of(asked.replace(inner, f"{inner} again: __schema {{ types {{ ...FullType }} }}", 1))[0] > MOST_FIELDS
