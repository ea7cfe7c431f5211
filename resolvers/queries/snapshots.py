"""How the snapshot stands: what its readers would get, and what went wrong with it lately."""

from dataloaders.snapshot import State, TimeRange
from resolvers.context import Context


async def state(context: Context, time_range: TimeRange) -> State:
    """How the snapshot of the caller's tenant stands."""
    return await context.services.snapshots.state_for_readers(context.caller.tenant, time_range)
