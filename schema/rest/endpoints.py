"""The table of REST endpoints: every row, from the module of its tag."""

from typing import Final

from schema.rest.rows import Endpoint
from schema.rest.table import admin, agents, clips, jobs, misc, queue, system, upload

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *admin.ROWS,
    *jobs.ROWS,
    *agents.ROWS,
    *upload.ROWS,
    *queue.ROWS,
    *clips.ROWS,
    *system.ROWS,
    *misc.ROWS,
)
