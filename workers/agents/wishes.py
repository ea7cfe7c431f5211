"""Reading what a job wishes and what an agent is configured to: the job's own wish first, then the configuration."""

import math
import re
from typing import Any, Final

from workers.agents.contract import Step, Tools
from workers.failures import StepFailed

SHORTEST_CLIP_S: Final = 1
LONGEST_CLIP_S: Final = 600

_ASPECT: Final = re.compile(r"(\d{1,3}):(\d{1,3})")


def number(step: Step, tools: Tools, name: str, *, default: float, at_least: float, at_most: float) -> float:
    """A number asked for under a name.

    Raises:
        StepFailed: it is no number, or out of range.
    """
    return _number(name, _wish(step, tools, name, default), at_least, at_most)


def clip_s(step: Step, tools: Tools, name: str, *, default: float) -> float:
    """The length of a clip asked for under a name, in seconds.

    Raises:
        StepFailed: it is no number, or no length that a clip may have.
    """
    return number(step, tools, name, default=default, at_least=SHORTEST_CLIP_S, at_most=LONGEST_CLIP_S)


def configured(tools: Tools, name: str, *, default: float, at_least: float, at_most: float) -> float:
    """A number that only the agent's configuration may set, such as a limit.

    Raises:
        StepFailed: it is no number, or out of range.
    """
    value = tools.config.get(name)
    return _number(name, default if value is None else value, at_least, at_most)


def whole(step: Step, tools: Tools, name: str, *, default: int, at_least: int, at_most: int) -> int:
    """A whole number asked for under a name.

    Raises:
        StepFailed: it is no whole number, or out of range.
    """
    value = number(step, tools, name, default=default, at_least=at_least, at_most=at_most)
    if value != int(value):
        raise StepFailed(f"{name} must be a whole number")
    return int(value)


def aspect(step: Step, tools: Tools) -> tuple[int, int] | None:
    """The shape clips should have, across and down, 9:16 unless told; None for `source`, the shape they come in.

    Raises:
        StepFailed: it is not written like `9:16`, or is narrower than 1:4 or wider than 4:1.
    """
    value = _wish(step, tools, "aspect", "9:16")
    try:
        return shape(value)
    except ValueError as error:
        raise StepFailed(f"aspect must {error}") from error


def shape(value: object) -> tuple[int, int] | None:
    """What an aspect says, across and down; None for `source`.

    Raises:
        ValueError: it is not written like `9:16`, or is narrower than 1:4 or wider than 4:1.
    """
    if value == "source":
        return None
    match = _ASPECT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("be written like 9:16, or be `source`")
    across, down = int(match[1]), int(match[2])
    if not across or not down or not 0.25 <= across / down <= 4:
        raise ValueError("lie between 1:4 and 4:1")
    return across, down


def text(step: Step, tools: Tools, name: str) -> str | None:
    """A text asked for under a name, or None.

    Raises:
        StepFailed: it is no text.
    """
    value = _wish(step, tools, name, None)
    if value is not None and not isinstance(value, str):
        raise StepFailed(f"{name} must be text")
    return value or None


def _wish(step: Step, tools: Tools, name: str, default: Any) -> Any:
    for asked in (step.options.get(name), tools.config.get(name)):
        if asked is not None:
            return asked
    return default


def _number(name: str, value: Any, at_least: float, at_most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise StepFailed(f"{name} must be a number")
    if not at_least <= value <= at_most:
        raise StepFailed(f"{name} must be between {at_least:g} and {at_most:g}")
    return float(value)
