"""What jobs were cut into."""

from typing import Final

from schema.rest import legacy
from schema.rest.rows import Endpoint, Tag, path

ROWS: Final = (
    Endpoint(
        method="GET",
        path="/clips/recent",
        tag=Tag.CLIPS,
        summary="The newest clips, with links to watch and to save them.",
        operation="ClipsRecent",
        shown=("clips",),
        paged=True,
        beside={"clips": legacy.clips, "total_available": "pagination.total"},
    ),
    Endpoint(
        method="GET",
        path="/clips/{clip_id}",
        tag=Tag.CLIPS,
        summary="One clip, with links to watch and to save it.",
        operation="ClipDetails",
        variables={"id": path("clip_id")},
        shown=("clip",),
        beside={"*": "data", "clip": legacy.clip},
    ),
)
