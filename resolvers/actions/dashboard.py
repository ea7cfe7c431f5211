"""Dashboard: checks, the daily report, and what is done about failures at a glance."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
