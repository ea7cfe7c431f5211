"""A document is validated once, and remembered by its text."""

import pytest
from graphql import ASTValidationRule, GraphQLError, build_schema, parse, specified_rules, validate
from graphql.language.visitor import EnterLeaveVisitor

from schema.validations import KEPT, Validations, informed

THINGS = build_schema(
    "input Given { size: Int! } interface Named { name: String } "
    "type Thing implements Named { name: String, of: Thing } type Query { thing(given: Given, id: ID!): Thing } "
    "type Mutation { made: Thing } type Subscription { seen: Thing }"
)
DOCUMENTS = (
    "{ thing(id: 1, given: {size: 2}) { name of { ...All } } } fragment All on Named { name }",
    "query A($id: ID!, $more: Int = 1) @skip(if: true) { thing(id: $id, id: $more) { name: of { name } name } }",
    "{ thing(given: {size: null, size: 1, more: 2}) { nothing ... on Query { thing } } } fragment Unused on None { a }",
    "query A { a } query A { thing(id: $missing) @none @include } { thing }",
    "subscription { seen { name } it: seen { name } } fragment F on Thing { ...F } type New { a: Int }",
    "mutation ($id: None, $id: Thing) { made { name(a: 1) of } ...None ... on ID { a } }",
    "{ a: thing(id: 1.5, given: 1) { of } b: thing(id: true, given: []) { of } c: thing(id: null, given: A) { of } "
    'd: thing(id: A, given: "a") { of } e: thing(id: {a: 1}, given: {size: """a"""}) { of } }',
)


def test_a_document_is_validated_once() -> None:
    asked: list[str] = []
    validations = Validations()

    def validate() -> list[GraphQLError]:
        asked.append("validated")
        return [GraphQLError("wrong")]

    first, second = validations.of(("{ a }",), validate), validations.of(("{ a }",), validate)

    assert first is second
    assert ["validated"] == asked


def test_the_least_recently_used_are_forgotten() -> None:
    asked: list[int] = []
    validations = Validations()

    def of(number: int) -> None:
        def validate() -> list[GraphQLError]:
            asked.append(number)
            return []

        validations.of((number,), validate)

    for number in range(KEPT + 1):
        of(number)
        of(0)
    of(0)
    of(1)

    assert [*range(KEPT + 1), 1] == asked


def told(document: str, rules: tuple[type[ASTValidationRule], ...]) -> list[str]:
    return [str(error) for error in validate(THINGS, parse(document), rules)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_rules_that_know_what_they_pass_by_find_the_same(document: str) -> None:
    assert told(document, specified_rules) == told(document, informed(specified_rules))


def test_no_kind_of_node_is_looked_up_for_a_document() -> None:
    looked_up: set[str] = set()

    class Indifferent(ASTValidationRule):
        """A rule that passes by everything."""

        def get_enter_leave_for_kind(self, kind: str) -> EnterLeaveVisitor:
            if kind not in self.enter_leave_map:
                looked_up.add(kind)
            return super().get_enter_leave_for_kind(kind)

    for document in DOCUMENTS:
        validate(THINGS, parse(document), informed((Indifferent,)))

    assert set() == looked_up


def test_those_documents_are_wrong_in_most_ways() -> None:
    """Control: rules that find nothing would find the same."""
    finding = [rule for rule in specified_rules if any(told(document, (rule,)) for document in DOCUMENTS)]

    assert len(finding) > 20
