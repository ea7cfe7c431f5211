"""Breakers in hand: small ones, by a clock that is moved, with dice that always fall the same."""

from guards.breakers import (
    Rules,
)

SMALL = Rules(window_s=10, least_calls=4, slow_after_s=2, shortest_s=1, longest_s=8, lease_s=5)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def half() -> float:
    """A throw of the dice that always falls in the middle."""
    return 0.5
