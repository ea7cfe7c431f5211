"""From errors that are nobody's fault in the code to what a person should do about them."""

import errno
from typing import Final

from agentos.cli.places import OTHER_FOLDER
from agentos.cli.printing import Failed

_UNWRITABLE: Final = {
    errno.EACCES: OTHER_FOLDER,
    errno.EROFS: OTHER_FOLDER,
    errno.ENOSPC: "Make room on that disk, or write to another.",
    errno.EDQUOT: "Make room on that disk, or write to another.",
}
"""What to do when the system will not have something written."""


def explained(error: BaseException) -> Failed | None:
    """What an error means to who called, or None for one that is a fault of ours and keeps its traceback."""
    from pydantic import ValidationError

    from agentos.client import Away, Refused
    from agentos.embedded import InUse, NotStarted
    from agentos.ports import PortTaken
    from agentos.up import NotReady
    from db import servers
    from db.database import DatabaseBusy, DatabaseUnavailable
    from db.migrations.runner import MigrationBusy
    from guards.errors import Refusal

    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case Failed():
            return error
        case ValidationError():
            return Failed(_settings(error), "docs/settings.md lists every setting with its default.", wrong_usage=True)
        case PortTaken():
            return Failed(str(error), f"Choose another with {error.option} N; 0 takes any that is free.")
        case InUse() | NotStarted() | NotReady() | MigrationBusy():
            return Failed(str(error))
        case DatabaseBusy():
            return Failed(str(error), "Nothing was changed by it; try again.")
        case DatabaseUnavailable():
            return Failed(
                str(error), "Is PostgreSQL running at AGENTOS_DATABASE_URL? `python -m agentos doctor` looks closer."
            )
        case Away():
            return Failed(str(error), "Is AgentOS running? `python -m agentos up` starts it.")
        case Refused():
            return Failed(str(error), "docs/guide.md#refusals says what to do about each code.")
        case Refusal():
            return Failed(f"{error} ({error.code})")
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        where = f"{error.filename} cannot be written" if error.filename else "what was to be written cannot be"
        return Failed(f"{where}: {(error.strerror or str(error)).lower()}", _UNWRITABLE[error.errno])
    if servers.hung_up(error):
        return Failed(servers.HUNG_UP, "Does it still run? `python -m agentos doctor` looks closer.")
    if isinstance(error, servers.AWAY):
        said = " ".join(str(error).split())[:200]
        return Failed(said or "a server did not answer in time", "`python -m agentos doctor` looks at each of them.")
    return None


def _settings(error: "object") -> str:
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    wrong = (f"AGENTOS_{'_'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors())
    return "; ".join(wrong)
