"""How clients from before speak of agents: what they call them, how they send configurations, what they read.

They know an agent by one word, which is its id; underscores, blanks and capitals make no difference in it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypedDict

from msgspec import Meta
from strawberry.utils.str_converters import to_camel_case

from guards.errors import BadInput, NotFound, Refusal
from resolvers.actions import reading
from resolvers.actions.everyday import OLDER_NAMES, AgentConfigureInput, agent_configure
from resolvers.context import Context
from schema.rest.rows import Answer

LISTS: Final = ("agents", "configurations")
"""Under what several configurations are sent at once."""

NAMES: Final = ("agent_id", "id", "name", "agent_name")
"""What tells of which agent a configuration is."""

LIMITS: Final = "resource_limits"

_ID: Final = re.compile(r"[a-z][a-z0-9-]{1,49}")


class OldLimits(TypedDict, total=False):
    """What a step of an agent may take."""

    memory_mb: int | None
    cpu_cores: int | None
    disk_mb: int | None


class OldConfiguration(TypedDict, total=False):
    """What is to change of one agent; what is left out, null or unknown stays as it is."""

    agent_id: str
    """Also called `id`, `name` or `agent_name`."""

    enabled: bool | None
    auto_start: bool | None
    max_concurrent: int | None
    timeout: int | None
    """Seconds that a step may take; also called `timeout_s`."""

    retry_attempts: int | None
    priority: str | None
    """`low`, `normal` or `high`."""

    resource_limits: OldLimits | None
    environment: dict[str, Any] | None
    """Its own options; also called `options`. Hidden ones (`***`) stay what they were."""


class OldConfigurations(OldConfiguration, total=False):
    """One configuration, or several of them in a list."""

    agents: list[OldConfiguration]
    configurations: list[OldConfiguration]


class OldAgent(TypedDict):
    """An agent as clients from before read it."""

    id: str
    name: str
    display_name: str
    category: str
    description: str
    version: str
    status: str
    availability: str
    current_load: int
    max_capacity: int
    queue_depth: int
    last_activity: str | None


class OldDetails(OldAgent):
    """One agent with all that is known of it."""

    enabled: bool
    capabilities: list[str]
    performance: dict[str, Any]
    health: dict[str, Any]


def known_as(value: Any, context: Context) -> str:
    """The id of the agent that somebody names.

    Raises:
        NotFound: no agent can be called so.
    """
    word = "-".join(re.split(r"[\s_]+", str(value).strip().lower()))
    if not isinstance(value, str) or not _ID.fullmatch(word):
        raise NotFound(f"there is no agent {str(value)[:50]}")
    return word


def several(value: str | Annotated[list[str], Meta(min_length=1)], context: Context) -> list[str]:
    """The ids of the agents that somebody names.

    Raises:
        BadInput: it is neither a name nor a list of names.
    """
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise BadInput("agent_ids: a list of agents is needed")
    return [known_as(name, context) for name in named]


def configurations(value: OldConfigurations, context: Context) -> list[dict[str, Any]]:
    """What is to change of agents: of several, of which there is a list, or else of the one that is spoken of.

    Raises:
        BadInput: one is not what a configuration looks like; the message names where.
    """
    body: Mapping[str, Any] = value
    name = next((name for name in LISTS if body.get(name) is not None), None)
    if name is None:
        return [_changes(body, context)]
    parts = body[name]
    if not isinstance(parts, list):
        raise BadInput(f"{name}: a list is needed")
    found = []
    for number, part in enumerate(parts):
        place = f"{name}[{number}]"
        if not isinstance(part, dict):
            raise BadInput(f"{place}: an object is needed")
        try:
            found.append(_changes(part, context))
        except BadInput as fault:
            raise BadInput(f"{place}.{fault}") from fault
    return found


def whole(answer: Answer) -> OldDetails:
    """The agent that was asked for."""
    shown = answer["data"]
    return OldDetails(
        **_agent(shown),
        enabled=shown["enabled"],
        capabilities=shown["capabilities"],
        performance=shown["performance"],
        health=shown["health"],
    )


def agents(answer: Answer) -> list[OldAgent]:
    """All agents."""
    return [_agent(each) for each in answer["data"]["agents"]]


def _agent(shown: Mapping[str, Any]) -> OldAgent:
    load = shown["load"]
    return OldAgent(
        id=shown["id"],
        name=shown["name"],
        display_name=shown["display_name"],
        category=shown["category"],
        description=shown["description"],
        version=shown["version"],
        status=shown["status"],
        availability=shown["availability"],
        current_load=load["running"],
        max_capacity=load["max"],
        queue_depth=load["waiting"],
        last_activity=shown["last_activity"],
    )


def _changes(part: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """One configuration as the schema takes it."""
    limits = {} if part.get(LIMITS) is None else part[LIMITS]
    if not isinstance(limits, dict):
        raise BadInput(f"{LIMITS}: an object is needed")
    named = next((part[name] for name in NAMES if part.get(name) is not None), None)
    given = {**{name: value for name, value in part.items() if name not in NAMES}, **limits}
    if isinstance(named, str):
        named = known_as(named, context)
    try:
        asked = reading.payload(agent_configure, {**given, "agent_id": named}, older=True)
    except Refusal as refusal:
        raise BadInput(_as_sent(str(refusal), given)) from refusal
    return _in_schema(asked)


def _as_sent(message: str, given: Mapping[str, Any]) -> str:
    """A message about a field by the name that it was sent under."""
    field, colon, told = message.partition(":")
    sent = next((older for older, present in OLDER_NAMES.items() if present == field and older in given), field)
    return f"{sent}{colon}{told}"


def _in_schema(asked: AgentConfigureInput) -> dict[str, Any]:
    given = {name: value for name in asked.__struct_fields__ if (value := getattr(asked, name)) is not None}
    if asked.priority is not None:
        given["priority"] = asked.priority.name
    return {to_camel_case(name): value for name, value in given.items()}
