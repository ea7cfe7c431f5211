"""What can be read by whoever is signed in: who they are, and anything by its id."""

import strawberry

from db import users as user_rows
from db.rows import Row
from guards.permissions import Permission
from resolvers import identity
from resolvers.queries import nodes
from schema.fields import Info, described, requires
from schema.scalars import uuid_of
from schema.types.nodes import Node
from schema.types.people import User


@described
class People:
    """What everybody has."""

    @requires(Permission.ME_READ, gives=User | None)
    async def me(self, info: Info) -> user_rows.User | None:
        """Who is calling; null when they were removed since they signed in."""
        return await identity.me(info.context)

    @requires(Permission.ME_READ, gives=Node | None)
    async def node(self, info: Info, id: strawberry.ID) -> Row | None:
        """Anything by its id; null when there is nothing that the caller may see."""
        return await nodes.by_id(info.context, uuid_of(id) or id)
