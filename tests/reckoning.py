"""An exact reckoning of limits: what should have been admitted, told from the moments and units of what was.

Slow, and nothing else than the definition: every call is judged by all those before it.
"""

from collections.abc import Callable
from typing import Final

from db.levels import Algorithm

Taken = list[tuple[int, int]]
"""When something was admitted, in microseconds, and how many units."""

Admits = Callable[[Taken, int, int, int, int], bool]
"""Whether so many units more are admitted now: taken, now, units, limit, window in microseconds."""


def sliding(taken: Taken, now: int, units: int, limit: int, window: int) -> bool:
    """As many as fit into the window that ends now."""
    return sum(count for at, count in taken if at > now - window) + units <= limit


def fixed(taken: Taken, now: int, units: int, limit: int, window: int) -> bool:
    """As many as fit into the window of the clock that is now."""
    return sum(count for at, count in taken if at // window == now // window) + units <= limit


def bucket(taken: Taken, now: int, units: int, limit: int, window: int) -> bool:
    """As many as are in a bucket that began full; in units times microseconds, which are whole."""
    level, since = limit * window, 0
    for at, count in taken:
        level = min(level + (at - since) * limit, limit * window) - count * window
        since = at
    return min(level + (now - since) * limit, limit * window) >= units * window


EXACT: Final[dict[Algorithm, Admits]] = {
    Algorithm.SLIDING_WINDOW: sliding,
    Algorithm.TOKEN_BUCKET: bucket,
    Algorithm.FIXED_WINDOW: fixed,
}
