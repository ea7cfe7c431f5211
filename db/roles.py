"""What people are, and where they are unless something else is said; in words that need no database to be read."""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a user is; permissions are patterns over this (`guards.permissions`)."""

    ADMIN = "admin"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    USER = "user"
    READONLY = "readonly"


DEFAULT_TENANT: Final = "default"
