"""Services: the processes under the supervisor, started, stopped and looked at."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
