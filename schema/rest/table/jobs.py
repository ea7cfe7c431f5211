"""Jobs: made, looked at, called off and tried again."""

from typing import Final

from schema.rest.rows import Endpoint

ROWS: Final[tuple[Endpoint, ...]] = ()
