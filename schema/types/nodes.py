"""Whatever has an id of its own."""

from uuid import UUID

import strawberry

from schema.scalars import key


@strawberry.interface(description="Something with an id of its own; `node(id:)` finds it again.")
class Node:
    """Something with an id of its own."""

    id: UUID | str = key()
