"""The handlers through which this process writes its log: flushed, and those that write to a file begun anew."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from db.rows import Row


class Reopened(Row, frozen=True, kw_only=True):
    """What was done to the handlers of this process."""

    flushed: int
    reopened: int
    """Those that write to a file; standard error cannot be opened again."""

    rotated: list[str]
    """What the files of before are called now, without their folders."""


def reopened(now: datetime | None = None) -> Reopened:
    """Flush every handler; put the files they write to aside, and have them begin new ones."""
    known = list(_known())
    for handler in known:
        # One whose stream is broken must not keep the others from being looked after.
        with suppress(OSError, ValueError):
            handler.flush()
    files = [handler for handler in known if isinstance(handler, logging.FileHandler) and _in_a_file(handler)]
    at = now or datetime.now(UTC)
    rotated = [_rotated(handler, at) for handler in files]
    return Reopened(flushed=len(known), reopened=len(files), rotated=[name for name in rotated if name is not None])


def _known() -> Iterator[logging.Handler]:
    """The handlers of all loggers, each once."""
    loggers: Iterable[object] = [logging.root, *logging.root.manager.loggerDict.values()]
    found = {id(each): each for logger in loggers if isinstance(logger, logging.Logger) for each in logger.handlers}
    yield from found.values()


def _in_a_file(handler: logging.FileHandler) -> bool:
    """Whether it writes to a file that can be put aside, and not to a device."""
    path = Path(handler.baseFilename)
    return path.is_file() or not path.exists()


def _rotated(handler: logging.FileHandler, at: datetime) -> str | None:
    path = Path(handler.baseFilename)
    handler.acquire()
    try:
        if handler.stream is not None:
            handler.stream.close()
        aside = _aside(path, at) if path.exists() and path.stat().st_size else None
        if aside is not None:
            os.rename(path, aside)
        handler.stream = handler._open()
    finally:
        handler.release()
    return None if aside is None else aside.name


def _aside(path: Path, at: datetime) -> Path:
    """A name beside it that is not taken."""
    stem = f"{path.name}.{at:%Y%m%dT%H%M%SZ}"
    number = 0
    while (place := path.with_name(f"{stem}.{number}" if number else stem)).exists():
        number += 1
    return place
