"""What a request may be at most, found out in one pass over its document however the fragments are nested.

Strawberry's own limiters walk a fragment again each time it is spread, so a document of 700 bytes keeps them busy for
seconds. Here each fragment is measured once (`schema.costs`), and what was found about a document is cached with its
validation.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    StringValueNode,
    ValidationRule,
)
from strawberry.extensions import SchemaExtension

from guards.errors import Unauthenticated
from schema import counts
from schema.costs import DEEPEST, Measure
from schema.errors import BAD_USER_INPUT, VALIDATION_FAILED

MOST_TOKENS: Final = 2_000


class Moderate(ValidationRule):
    """No operation asks deeper than is answered; how much it asks for, its variables tell (`schema.plan`)."""

    def enter_document(self, document: DocumentNode, *_: Any) -> None:
        """Measure each operation."""
        measure = Measure(self.context.schema, document)
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode) and measure.of(node).depth > DEEPEST:
                self.report_error(GraphQLError(f"the operation is more than {DEEPEST} fields deep", node))


class Storable(ASTValidationRule):
    """No text in the document has characters that cannot be stored."""

    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        """Look at one text."""
        if not storable(node.value):
            self.report_error(GraphQLError(UNSTORABLE, node, extensions={"code": BAD_USER_INPUT}))


RULES: Final = (Moderate, Storable)
"""What is asked of documents beside what GraphQL itself asks."""


class Limits(SchemaExtension):
    """Refuses what is too large, unclear or unstorable, before anything of it is run."""

    def on_operation(self) -> Iterator[None]:
        """Add the rules about documents to GraphQL's own."""
        context = self.execution_context
        context.parse_options["max_tokens"] = MOST_TOKENS
        context.validation_rules = (*context.validation_rules, *RULES)
        yield

    def on_validate(self) -> Iterator[None]:
        """Look at what does not depend on the document alone, and give what was found its code."""
        context = self.execution_context
        if not context.pre_execution_errors and (error := self._unclear() or self._unstorable() or self._curious()):
            context.pre_execution_errors = [error]
        for error in context.pre_execution_errors or ():
            assert error.extensions is not None
            error.extensions.setdefault("code", VALIDATION_FAILED)
        yield

    def _unclear(self) -> GraphQLError | None:
        # Strawberry would run the first operation, whichever was meant.
        context = self.execution_context
        assert context.graphql_document is not None
        return unclear(context.graphql_document, context._provided_operation_name)

    def _unstorable(self) -> GraphQLError | None:
        waiting: list[Any] = [self.execution_context.variables]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str) and not storable(value):
                return GraphQLError(UNSTORABLE, extensions={"code": BAD_USER_INPUT})
            if isinstance(value, Mapping):
                waiting += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                waiting += value
        return None

    def _curious(self) -> GraphQLError | None:
        # The whole schema is a hundred milliseconds of work: more than a stranger may ask for.
        context = self.execution_context
        if context.context.viewer is not None or not _SCHEMA.search(context.query or ""):
            return None
        assert context.graphql_document is not None
        if not counts.introspects(context.graphql_document):
            return None
        told = "sign in to ask for the schema; its text is at /graphql/schema.graphql"
        return GraphQLError(told, extensions={"code": Unauthenticated.code})


def unclear(document: DocumentNode, name: str | None) -> GraphQLError | None:
    """Why it cannot be told which operation of a document is meant, if so."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is None:
        told = f"the document has {len(operations)} operations: say which one by operationName"
        return GraphQLError(told, operations) if len(operations) != 1 else None
    known = {node.name.value for node in operations if node.name}
    return None if name in known else GraphQLError(f"the document has no operation {name[:50]}", operations)


_SCHEMA: Final = re.compile(r"\b__(schema|type)\b")

UNSTORABLE: Final = "text may hold neither NUL nor half of a surrogate pair"


def storable(text: str) -> bool:
    """Whether PostgreSQL takes a text, and UTF-8 can write it."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
