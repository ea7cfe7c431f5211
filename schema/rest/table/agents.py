"""The agents: how they stand, and how they are steered."""

from typing import Final

from schema.rest.rows import Endpoint

ROWS: Final[tuple[Endpoint, ...]] = ()
