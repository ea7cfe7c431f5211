"""What can be read of the circuit breakers."""

from guards.breakers import Standing
from guards.permissions import Permission
from schema.fields import Info, described, requires
from schema.types.breakers import Breaker


@described
class Breakers:
    """The circuit breakers."""

    @requires(Permission.SERVICE_READ, gives=list[Breaker] | None)
    async def breakers(self, info: Info) -> list[Standing]:
        """The circuit breakers, as they stand in the process that answers."""
        return await info.context.services.breakers.standings()
