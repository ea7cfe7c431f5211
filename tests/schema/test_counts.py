"""What is refused before it is validated, and that clients as they are stay below it."""

import gc
import time

import pytest
from graphql import get_introspection_query, parse

from schema import counts
from schema.counts import LONGEST_TEXT, MOST, MOST_ROOTS
from tests.benchmarks.test_http import everything
from tests.schema.conftest import Ask

RELAY = "{ me { ...f0 } } " + " ".join(f"fragment f{n} on User {{ __typename id name ...f{n + 1} }}" for n in range(12))
USUAL = {
    "the whole snapshot": everything(),
    "what GraphiQL asks": get_introspection_query(specified_by_url=True, input_value_deprecation=True),
    "fragments of fragments": RELAY + " fragment f12 on User { id }",
    "as many root fields as may be": "{ " + " ".join(f"a{n}: me {{ id }}" for n in range(MOST_ROOTS)) + " }",
    "as many aliases as may be": "{ me { " + " ".join(f"a{n}: id" for n in range(MOST["aliases"])) + " } }",
    "the same field forty times": "{ " + "me " * 40 + "}",
}


@pytest.mark.parametrize("document", USUAL.values(), ids=USUAL)
def test_what_clients_ask_for_passes(document: str) -> None:
    assert counts.refusal(parse(document)) is None


def spreading(of: int, inner: str) -> str:
    spreads = " ".join(f"...f{n}" for n in range(of))
    return f"{{ {spreads} }} " + " ".join(f"fragment f{n} on Query {{ {inner} }}" for n in range(of))


SAME = "the document asks for the same fields too many times over, or a fragment spreads itself"
TOO_MUCH = {
    "root fields": ("{ " + " ".join(f"f{n}" for n in range(16)) + " }", "the operation has 16 root fields; at most 15"),
    "root fields in fragments": (
        "{ ...f0 ...f1 } fragment f0 on Query { a b c d e f g h } fragment f1 on Query { i j k l m n o p }",
        "the operation has 16 root fields; at most 15",
    ),
    "aliases": (
        "{ me { " + " ".join(f"a{n}: id" for n in range(31)) + " } }",
        "the document has 31 aliases; at most 30 are taken",
    ),
    "directives": ("{ me " + "@skip(if: false) " * 21 + "}", "the document has 21 directives; at most 20 are taken"),
    "fragments": (spreading(41, "me"), "the document has 41 fragments; at most 40 are taken"),
    "spreads": ("{ " + "...f " * 101 + "}", "the document has 101 spreads of fragments; at most 100 are taken"),
    "operations": (" ".join(f"query q{n} {{ me }}" for n in range(21)), "the document has 21 operations; at most 20"),
    "schemas": ("{ __schema { a } b: __schema { a } }", "the document has 2 __schema; at most 1 are taken"),
    "the same": ("{ " + "me " * 50 + "}", SAME),
    "the same further down": ("{ " + "jobs { edges { node { id } } } " * 30 + "}", SAME),
    "the same in fragments": (spreading(40, "me { id }"), SAME),
    "a fragment inside of itself": ("{ me { ...f } } fragment f on User { id jobs { ...f } }", "the "),
    "fragments that unfold": (
        "{ a { ...f0 } } "
        + " ".join(f"fragment f{n} on A {{ x {{ ...f{n + 1} }} y {{ ...f{n + 1} }} }}" for n in range(39))
        + " fragment f39 on A { id }",
        "the fragments unfold to more than 8000 fields",
    ),
    "a number of 5,000 digits": ("{ jobs(first: " + "9" * 5000 + ") }", "a number has at most 64 digits and is finite"),
    "a number beyond all": ("{ jobs(first: 1e999) }", "a number has at most 64 digits and is finite"),
    "a number inside of a value": ("{ jobs(filter: {a: [1, -1e999]}) }", "a number has at most 64 digits"),
}


@pytest.mark.parametrize(("document", "message"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_too_much_is_refused_in_a_twentieth_of_a_second(document: str, message: str) -> None:
    # The least of several: what a machine that pauses adds to one of them is not what it costs.
    took, refusals = [], []
    gc.disable()
    for _ in range(3):
        parsed = parse(document)
        begun = time.process_time()
        refusals.append(counts.refusal(parsed))
        took.append(time.process_time() - begun)
    gc.enable()

    assert [True] * 3 == [refusal is not None and refusal.message.startswith(message) for refusal in refusals]
    assert min(took) < 0.05


async def test_a_document_that_is_too_long_is_not_read(ask: Ask) -> None:
    long = await ask(None, '{ job(id: "' + "x" * LONGEST_TEXT + '") { id } }')
    usual = await ask(None, "{ health { status } }" + " " * (LONGEST_TEXT - 21))

    assert [(f"the document is longer than {LONGEST_TEXT} characters: put what is long into variables")] == [
        error.message for error in long.errors or []
    ]
    assert usual.errors is None


async def test_a_word_that_is_mistyped_is_still_explained(ask: Ask) -> None:
    answer = await ask(None, "{ helth { status } jbs { id } }")

    assert ["Cannot query field 'helth' on type 'Query'. Did you mean 'health'?"] == [
        error.message for error in answer.errors or []
    ]
