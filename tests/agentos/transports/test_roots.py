"""Root fields are named as the schema names them, however a document is written."""

import pytest

from agentos.metrics import Metrics
from agentos.transports.bodies import Operation
from agentos.transports.roots import Named, Roots
from schema.counts import LONGEST_TEXT
from schema.limits import MOST_TOKENS

CASES: dict[str, tuple[str, str | None, Named]] = {
    "plain": ("{ a b }", None, ("query", ("a", "b"))),
    "aliases": ("mutation { x: a y: a }", None, ("mutation", ("a",))),
    "a fragment": ("{ ...F } fragment F on Query { a ... { b } }", None, ("query", ("a", "b"))),
    "fragments that double": (
        "{ ...f0 } "
        + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(60))
        + " fragment f60 on Query { a }",
        None,
        ("query", ("a",)),
    ),
    "the one named": ("query A { a } subscription B { b }", "B", ("subscription", ("b",))),
    "nested fields are none": ("{ a { b } }", None, ("query", ("a",))),
    "no document": ("{", None, ("none", ())),
    "more than is read": ("{ a " + "# " * LONGEST_TEXT + "\n}", None, ("none", ())),
    "more words than are read": ("{ " + "a " * MOST_TOKENS + "}", None, ("none", ())),
}


@pytest.mark.parametrize(("query", "name", "found"), CASES.values(), ids=CASES)
def test_root_fields(query: str, name: str | None, found: Named) -> None:
    roots = Roots()

    assert [found, found] == [roots.of(query, name), roots.of(query, name)]


def exposed_operations(metrics: Metrics) -> int:
    return metrics.exposed().count(b"agentos_graphql_operations_total{")


@pytest.mark.parametrize(
    ("began", "ok", "counted"),
    [
        (True, True, {("query", "a", "ok"), ("query", "b", "ok")}),
        (True, False, {("query", "a", "error"), ("query", "b", "error")}),
        (False, False, {("none", "none", "error")}),
    ],
    ids=["answered", "with errors", "not begun"],
)
def test_an_operation_counts_under_each_of_its_fields_once_it_has_begun(
    began: bool, ok: bool, counted: set[tuple[str, str, str]]
) -> None:
    metrics = Metrics()

    Roots().count(metrics, Operation("{ x: a a b }"), began=began, ok=ok)

    read = metrics.registry.get_sample_value
    labels = [dict(zip(("type", "field", "outcome"), each, strict=True)) for each in counted]
    assert [1.0] * len(labels) == [read("agentos_graphql_operations_total", each) for each in labels]
    assert len(labels) == exposed_operations(metrics)
