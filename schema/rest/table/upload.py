"""Uploads: begun, filled chunk by chunk, finalized into a file that a job takes."""

from typing import Final

from guards.permissions import Permission
from resolvers.uploads import CHUNK
from schema.rest import uploads
from schema.rest.rows import Endpoint, Tag, body, path, query

ROWS: Final = (
    Endpoint(
        method="GET",
        path="/upload",
        tag=Tag.UPLOAD,
        summary="The caller's uploads, the newest first.",
        operation="UploadList",
        variables={"statuses": query("status")},
        shown=("uploads",),
        paged=True,
        beside={"uploads": "data", "total": "pagination.total"},
    ),
    Endpoint(
        method="POST",
        path="/upload/init",
        tag=Tag.UPLOAD,
        summary="Begin an upload.",
        status=201,
        operation="UploadInit",
        variables={
            "filename": body("filename"),
            "size_bytes": body("file_size"),
            "chunk_bytes": body("chunk_size"),
            "sha256": body("sha256"),
        },
        asks=uploads.Begun,
        shown=("uploadInit", "upload"),
        beside={"uploadId": "data.id", "upload_id": "data.id"},
    ),
    Endpoint(
        method="POST",
        path="/upload/chunk",
        tag=Tag.UPLOAD,
        summary="Send one chunk, as a form.",
        native=uploads.chunk,
        form=uploads.Chunk,
        permission=Permission.UPLOAD_INIT,
        rate=uploads.SENDING,
        audited=CHUNK,
        beside={"chunk_index": "data.chunk_index", "received": "data.received"},
    ),
    Endpoint(
        method="POST",
        path="/upload/finalize",
        tag=Tag.UPLOAD,
        summary="Verify an upload; its id is the file path that a job takes.",
        status=201,
        operation="UploadFinalize",
        variables={"upload_id": body("upload_id"), "total_chunks": body("total_chunks"), "sha256": body("sha256")},
        asks=uploads.Digested,
        shown=("uploadFinalize", "upload"),
        beside={"file_path": "data.id", "filePath": "data.id", "metadata": "data"},
    ),
    Endpoint(
        method="GET",
        path="/upload/status/{upload_id}",
        tag=Tag.UPLOAD,
        summary="Which bytes of an upload are there, and which are missing.",
        operation="UploadStatus",
        variables={"id": path("upload_id")},
        shown=("upload",),
        beside={"status": "data.status", "progress": "data.progress"},
    ),
)
