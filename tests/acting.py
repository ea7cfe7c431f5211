"""Carrying out actions in tests as a transport does, once the plan has let the caller pass."""

from typing import Any

import pytest

from guards.errors import Refusal
from resolvers.actions.catalogue import CATALOGUE
from resolvers.actions.performing import Performed, perform
from resolvers.context import Context
from tests.standing import standing

PLACE = "it"


async def act(context: Context, name: str, /, *, key: str | None = None, older: bool = False, **given: Any) -> Any:
    """What an action answers, or the refusal it raises; through the chain, so that it is on record either way."""
    return (await performed(context, name, key=key, older=older, **given)).result


async def performed(
    context: Context, name: str, /, *, key: str | None = None, older: bool = False, **given: Any
) -> Performed[Any]:
    """The same with how it was performed."""
    context.admitted = {PLACE: key}
    return await perform(context, CATALOGUE[name], given, place=PLACE, older=older)


async def refused(context: Context, name: str, *, key: str | None = None, **given: Any) -> Refusal:
    """The refusal of an action, which has changed nothing."""
    before = await standing(context.services.database)
    with pytest.raises(Refusal) as refusal:
        await act(context, name, key=key, **given)
    assert before == await standing(context.services.database)
    return refusal.value
