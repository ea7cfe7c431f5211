"""The queue that jobs wait in."""

from typing import Final

from schema.rest.rows import Endpoint

ROWS: Final[tuple[Endpoint, ...]] = ()
