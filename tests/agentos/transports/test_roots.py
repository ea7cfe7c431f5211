"""Root fields are named as the schema names them, however a document is written."""

import pytest

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
