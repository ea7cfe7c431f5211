"""What a server says about itself, at the top of its paths."""

from typing import Final, Literal, TypedDict

from schema.rest.rows import Endpoint, Own, Tag


class About(TypedDict):
    """What this is."""

    name: str
    version: str
    links: dict[str, str]


class Wellbeing(TypedDict):
    """How everything stood a moment ago."""

    status: str
    version: str
    checks: dict[str, Literal["ok", "down"]]


ROWS: Final = (
    Endpoint(
        method="GET",
        path="/",
        tag=Tag.SYSTEM,
        summary="What this is, in which version, and where to go on.",
        own=Own.ROOT,
        answers=About,
        beside={"*": "data"},
    ),
    Endpoint(
        method="GET",
        path="/health",
        tag=Tag.SYSTEM,
        summary="How everything stood a moment ago, for anybody.",
        own=Own.HEALTH,
        answers=Wellbeing,
        beside={"*": "data"},
    ),
)
