"""Names, beside an answer, the fields of it that are the answers of earlier calls."""

from typing import Any

from strawberry.extensions import SchemaExtension


class Replayed(SchemaExtension):
    """`extensions.replayed`: the response keys of actions that were carried out before, under the same key."""

    def get_results(self) -> dict[str, Any]:
        """The keys in their order, or nothing."""
        replayed = self.execution_context.context.replayed if self.execution_context.context else ()
        return {"replayed": sorted(replayed)} if replayed else {}
