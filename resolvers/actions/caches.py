"""Caches: what is kept to be quick, emptied and filled again."""

from typing import Any, Final

from resolvers.actions.contract import Action

ACTIONS: Final[tuple[Action[Any, Any], ...]] = ()
