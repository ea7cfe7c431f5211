"""The machine this process runs on: how busy it is, and how full its disk."""

import time
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]  # it ships no types; what is read from it is annotated here

_REST_S: Final = 1.0
"""psutil measures since the call before; asked again at once it would answer 0 % or 100 %."""


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
        psutil.cpu_percent(interval=None)
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
            cpu_percent=psutil.cpu_percent(interval=None) if rested else None,
            memory_percent=psutil.virtual_memory().percent,
            disk_percent=disk.percent,
            disk_total=disk.total,
            disk_used=disk.used,
            disk_free=disk.free,
            load_average=psutil.getloadavg(),
        )
        if rested:
            self._at = now
        return self._last


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there already."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
