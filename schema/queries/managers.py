"""What can be read of the loops that keep the house in order."""

from guards.permissions import Permission
from resolvers.queries import managers
from schema.fields import Info, described, requires
from schema.types.managers import Manager


@described
class Managers:
    """The managers."""

    @requires(Permission.MANAGER_READ, gives=list[Manager] | None)
    async def managers(self, info: Info) -> list[managers.Manager]:
        """The managers, as they are asked to be and as they are."""
        return await managers.everyone(info.context)
