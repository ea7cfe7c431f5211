"""The system as a whole: how it is, and stopping, restarting and maintaining it."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
