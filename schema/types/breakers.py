"""Circuit breakers: how each stands in the process that answers."""

from datetime import datetime

from guards.breakers import BreakerState, Dependency, Standing
from schema.fields import shows


@shows(Standing)
class Breaker:
    """The circuit breaker of one dependency, in the process that answers."""

    dependency: Dependency
    state: BreakerState
    calls: int
    failure_rate: float | None
    slow_rate: float | None
    open_until: datetime | None
    isolated: bool
    reason: str | None
    decided_at: datetime | None
