"""What an operation is taken to ask for, with the variables it comes with."""

import time

import pytest
from graphql import parse
from graphql.language import OperationDefinitionNode

from schema.costs import Measure, Size
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
    """Two hundred of them would be 2**200 fields, and a walk through each would never end."""
    doubling = " ".join(f"fragment f{n} on Job {{ ...f{n + 1} ...f{n + 1} }}" for n in range(200))
    begun = time.perf_counter()

    fields, depth = size_of(f'{{ job(id: "1") {{ ...f0 }} }} {doubling} fragment f200 on Job {{ id }}')

    assert (1 + 2**200, 2) == (fields, depth)
    assert time.perf_counter() - begun < 0.5
