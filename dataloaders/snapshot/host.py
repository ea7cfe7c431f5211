"""The machine this process runs on: how busy it is, and how full its disk."""

import time
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]  # it ships no types; what is read from it is annotated here

_REST_S: Final = 1.0
"""Shorter stretches have too few ticks of the kernel in them: they would look like 0 % or 100 %."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement."""

    cpu_percent: float | None
    """Share of all cores since the measurement before; None for the first one, which has none before it."""

    memory_percent: float
    disk_percent: float
    disk_total: int
    disk_used: int
    disk_free: int
    load_average: tuple[float, float, float]
    """Runnable processes over one, five and fifteen minutes."""


class Host:
    """Measures at most once a second."""

    def __init__(self, data_dir: Path) -> None:
        """Begin measuring; the disk is the one that `data_dir` is, or will be, on."""
        self._data_dir = data_dir
        self._last: Machine | None = None
        self._times = _times()
        self._at = time.monotonic()

    def machine(self) -> Machine:
        """How the machine is just now.

        Raises:
            OSError: the disk cannot be asked.
        """
        now = time.monotonic()
        rested = now - self._at >= _REST_S
        if self._last is not None and not rested:
            return self._last
        disk = psutil.disk_usage(str(_existing(self._data_dir)))
        self._last = Machine(
            cpu_percent=_busy(self._times, times := _times()) if rested else None,
            memory_percent=psutil.virtual_memory().percent,
            disk_percent=disk.percent,
            disk_total=disk.total,
            disk_used=disk.used,
            disk_free=disk.free,
            load_average=psutil.getloadavg(),
        )
        if rested:
            self._at, self._times = now, times
        return self._last


# Not psutil's own percentage: it remembers for each thread when that asked last, and we ask from several.
def _times() -> tuple[float, float]:
    """Seconds that all cores have been idle, and have been there, since the machine was started."""
    spent = psutil.cpu_times()
    # What guests use is counted among the user's as well.
    whole = sum(spent) - getattr(spent, "guest", 0.0) - getattr(spent, "guest_nice", 0.0)
    return spent.idle + getattr(spent, "iowait", 0.0), whole


def _busy(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    """The share of all cores that was used between two readings, in percent; None if no time has gone by."""
    idle, whole = after[0] - before[0], after[1] - before[1]
    return round(max(0.0, min(100.0, 100 * (1 - idle / whole))), 1) if whole > 0 else None


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there already."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
