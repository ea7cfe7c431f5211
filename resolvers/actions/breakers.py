"""Circuit breakers, operated by hand: what is decided is obeyed by every process within a second."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

from msgspec import Meta

from db import breakers
from db.rows import Row
from guards.breakers import Dependency
from resolvers.actions.contract import Action, Call, Payload, View, action


class BreakerIsolateInput(Payload, frozen=True, kw_only=True):
    """What to leave alone."""

    dependency: Dependency
    reason: Annotated[str, Meta(max_length=200)] | None = None
    """Shown to whoever asks how the breakers stand."""


class BreakerCloseInput(Payload, frozen=True, kw_only=True):
    """What to use again."""

    dependency: Dependency


class BreakerDecided(Row, frozen=True):
    """What was decided about a breaker."""

    dependency: Dependency
    isolated: bool
    decided_at: datetime


@action("breaker.isolate", View.GUARDS, per_minute=10, target="dependency")
async def breaker_isolate(call: Call[BreakerDecided], asked: BreakerIsolateInput) -> BreakerDecided:
    """Have nothing use a dependency until its breaker is closed by hand, however well it is."""
    return await _decided(call, asked.dependency, isolated=True, reason=asked.reason)


@action("breaker.close", View.GUARDS, per_minute=10, target="dependency")
async def breaker_close(call: Call[BreakerDecided], asked: BreakerCloseInput) -> BreakerDecided:
    """Have a dependency used again, whether it was isolated or had failed too often; it is counted anew."""
    return await _decided(call, asked.dependency, isolated=False, reason=None)


async def _decided(
    call: Call[BreakerDecided], dependency: Dependency, *, isolated: bool, reason: str | None
) -> BreakerDecided:
    decision = await breakers.decide(call.tx, dependency, isolated=isolated, reason=reason, by=call.caller.user_id)
    call.tx.after_commit(partial(call.services.breakers.look, again=True))
    return BreakerDecided(dependency, decision.isolated, decision.changed_at)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (breaker_isolate, breaker_close)
