"""The admin snapshot as a whole."""

import msgspec


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the console shows at once."""
