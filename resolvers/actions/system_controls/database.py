"""The database: how it is, tending it, and what goes into and comes out of it."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
