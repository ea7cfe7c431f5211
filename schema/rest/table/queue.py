"""The queue that jobs wait in."""

from typing import Final

from schema.rest import legacy
from schema.rest.rows import Endpoint, Tag
from schema.rest.table.jobs import LISTED

ROWS: Final = (
    Endpoint(
        method="GET",
        path="/queue/status",
        tag=Tag.QUEUE,
        summary="Whether jobs are begun and taken on, how many are in which status, and how long the oldest waits.",
        operation="QueueStatus",
        shown=("queue",),
        beside={"queue": "data"},
    ),
    Endpoint(
        method="GET",
        path="/queue/details",
        tag=Tag.QUEUE,
        summary="The jobs that wait or run, the most urgent first.",
        operation="QueueDetails",
        shown=("jobs",),
        paged=True,
        beside=LISTED,
    ),
    Endpoint(
        method="GET",
        path="/queue/stats",
        tag=Tag.QUEUE,
        summary="How fast jobs are done, how long they wait, and how many of them succeed.",
        operation="QueueStatistics",
        shown=("queue",),
        beside={"stats": legacy.queue_figures, "*": legacy.queue_figures},
    ),
)
