"""SystemLogs: reading, exporting and clearing what processes wrote."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
