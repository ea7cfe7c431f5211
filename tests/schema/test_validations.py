"""A document is validated once, and remembered by its text."""

from graphql import GraphQLError

from schema.validations import KEPT, Validations


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
