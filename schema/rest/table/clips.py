"""What jobs were cut into."""

from typing import Final

from schema.rest.rows import Endpoint

ROWS: Final[tuple[Endpoint, ...]] = ()
