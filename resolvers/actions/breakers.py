"""Circuit breakers, operated by hand."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
