"""What validation found in a document, remembered by its text.

Strawberry's own cache hashes the whole syntax tree each time it is asked, which for a large query costs more than the
answer. The text is hashed once by the parser's cache; equal texts have equal trees.

What holds too much is not validated at all, and validation ends with the first mistake: each costs a search for what
may have been meant. Rules are told once what they pass by: GraphQL looks it up anew for each document, which takes
longer than validating a small one.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final

from graphql import ASTValidationRule, DocumentNode, GraphQLError, GraphQLSchema, ValidationContext, validate
from graphql.language.ast import QUERY_DOCUMENT_KEYS, ValueNode
from graphql.language.visitor import EnterLeaveVisitor
from graphql.validation.validate import ValidationAbortedError
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from schema import counts

KEPT: Final = 256

KINDS: Final = frozenset(QUERY_DOCUMENT_KEYS) | {node.kind for node in ValueNode.__subclasses__()}
"""All kinds of nodes of a document; the keys alone lack the values that have no parts, such as numbers."""

Rule = type[ASTValidationRule]


class Validations:
    """The findings of one schema; the least recently used are forgotten."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[object, ...], list[GraphQLError]] = OrderedDict()

    def of(self, key: tuple[object, ...], validate: Callable[[], list[GraphQLError]]) -> list[GraphQLError]:
        """The findings under a key, which `validate` makes when there are none yet."""
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = validate()
            if len(self._found) > KEPT:
                self._found.popitem(last=False)
        else:
            self._found.move_to_end(key)
        return found

    def extension(self) -> SchemaExtension:
        """The step of one operation that asks here first."""
        return Remembered(self)


class Remembered(SchemaExtension):
    """Validates a document, or remembers how that went."""

    def __init__(self, validations: Validations) -> None:
        super().__init__()
        self._validations = validations

    def on_validate(self) -> Iterator[None]:
        """Put what is known of the document in the place of validating it."""
        context = self.execution_context
        document, rules = context.graphql_document, context.validation_rules
        assert document is not None
        context.pre_execution_errors = self._validations.of(
            (context.query, rules), lambda: findings(context.schema._schema, document, rules)
        )
        yield


def findings(schema: GraphQLSchema, document: DocumentNode, rules: tuple[Rule, ...]) -> list[GraphQLError]:
    """The first thing that is wrong with a document, if there is any."""
    refusal = counts.refusal(document)
    if refusal is not None:
        return [refusal]
    # Beside those of the operation, the rules that Strawberry itself adds to every one.
    rules = (*rules, MaybeNullValidationRule, OneOfInputValidationRule)
    return _told(validate(schema, document, informed(rules), max_errors=1))


def informed(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules, which know what they pass by."""
    return tuple(_informed(rule) for rule in rules)  # type: ignore[arg-type]  # a class can be hashed


@cache
def _informed(rule: Rule) -> Rule:
    nothing = EnterLeaveVisitor(None, None)
    passed_by = {
        kind: nothing
        for kind in KINDS
        if not any(hasattr(rule, method) for method in ("enter", "leave", f"enter_{kind}", f"leave_{kind}"))
    }

    class Informed(rule):  # type: ignore[valid-type, misc]  # a class made at run time
        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            self.enter_leave_map = passed_by.copy()

    return Informed


def _told(errors: list[GraphQLError]) -> list[GraphQLError]:
    """Errors without the remark that there may be more, unless it is the only one."""
    return [error for error in errors if not isinstance(error, ValidationAbortedError)] or errors
