"""Refusals: the server understood and will not, and the caller can tell why from `code`.

One family, without any notion of HTTP or GraphQL; the edges translate. Every code is explained to its reader in
`docs/guide.md#refusals`.
"""

from typing import ClassVar

from db.database import DatabaseBusy, DatabaseUnavailable
from guards.allowances import Spent


class Refusal(Exception):
    """The server understood and will not; the caller can tell why from `code`."""

    code: ClassVar[str] = "REFUSED"
    retry_after: int | None = None
    """Whole seconds after which the same call may succeed; None when waiting does not help."""

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unauthenticated(Refusal):
    """Nobody is signed in, or the token is not good (any more)."""

    code = "UNAUTHENTICATED"


class Forbidden(Refusal):
    """This caller may not do this."""

    code = "FORBIDDEN"

    def __init__(self, message: str, *, missing: str | None = None) -> None:
        super().__init__(message)
        self.missing = missing
        """The permission that is wanting, where it is one."""


class NotFound(Refusal):
    """There is no such thing, or it belongs to somebody else, which looks the same."""

    code = "NOT_FOUND"


class BadInput(Refusal):
    """What was sent does not fit; the message names the field."""

    code = "VALIDATION_ERROR"


class UnknownAction(BadInput):
    """There is no action of that name; the message says which may have been meant."""

    code = "UNKNOWN_ACTION"


class Conflict(Refusal):
    """What was asked for does not fit the present state; asking again later may."""

    code = "CONFLICT"


class OperationFailed(Refusal):
    """What was asked for was begun and could not be brought to its end; the message says how far it came, and why."""

    code = "OPERATION_FAILED"


class KeyReused(Refusal):
    """The idempotency key was used before, for something else."""

    code = "IDEMPOTENCY_MISMATCH"


class InProgress(Conflict):
    """The same call, under the same idempotency key, is still being carried out."""

    code = "IDEMPOTENCY_IN_PROGRESS"


class Maintenance(Refusal):
    """The system is being worked on and takes no new work."""

    code = "MAINTENANCE"


class CircuitOpen(Refusal):
    """Something this depends on has failed too often just now and is left alone for a while; nothing was done."""

    code = "CIRCUIT_OPEN"


class TooLarge(Refusal):
    """More bytes than are taken, at once or in all."""

    code = "TOO_LARGE"


class QuotaExceeded(Refusal):
    """The caller holds as much as one may hold; deleting something helps."""

    code = "QUOTA_EXCEEDED"


class Mismatch(Refusal):
    """The bytes that arrived are not the ones that were announced."""

    code = "CHECKSUM_MISMATCH"


class Unsupported(Refusal):
    """A kind of file that is not taken here."""

    code = "UNSUPPORTED_MEDIA"


class RateLimited(Refusal):
    """Asked too often."""

    code = "RATE_LIMITED"

    def __init__(
        self,
        message: str,
        *,
        retry_after: int | None = None,
        policy: str | None = None,
        spent: Spent | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.policy = policy
        """Which limit said no, by the name that clients are told."""

        self.spent = spent
        """What is left of all limits of the call; nothing was charged."""


class Unavailable(Refusal):
    """Something this needs does not answer just now, or is held by somebody else; nothing was done."""

    code = "UNAVAILABLE"


class NotControllable(Refusal):
    """There is nothing here that could carry this out, such as a supervisor."""

    code = "NOT_CONTROLLABLE"


def unanswered(error: DatabaseUnavailable) -> Unavailable:
    """How a caller is told that the database did not do what this needs."""
    busy = isinstance(error, DatabaseBusy)
    why = "somebody else holds what this needs in the database" if busy else "the database does not answer"
    return Unavailable(f"{why}: try again", retry_after=1)


def family(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Every refusal there is, for the tables and tests that must know them all."""
    return [kind, *(found for child in kind.__subclasses__() for found in family(child))]
