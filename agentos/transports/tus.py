"""`/files/uploads`: a file sent on from where it stopped, the way standard clients do it.

tus 1.0.0 with creation, creation-with-upload, expiration, checksum and termination; and plain PUT, whole or with
`Content-Range`, as `curl --continue-at` sends it. A transport beside the endpoints of REST, over the same uploads:
begun and finalized by the same operations, owned, charged, put on record and refused as there. With its last byte a
file is verified; only then does its offset tell that it is complete.
"""

import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import format_datetime
from typing import Any, Final
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.schema.base import BaseSchema

from agentos.transports import tus_headers
from db.database import DatabaseUnavailable
from db.models.work import UploadStatus
from guards.errors import BadInput, Conflict, Mismatch, Refusal, unanswered
from guards.permissions import Permission
from guards.replays import REPLAYED
from resolvers import appending, uploads
from resolvers.appending import Checksum, Reached
from resolvers.context import Context
from resolvers.timing import ms_since
from schema.plan import admit_native, refused_native
from schema.rest import envelope
from schema.rest.operations import Refused, stored
from schema.rest.serving import Identify
from schema.rest.uploads import SENDING, upload_id_of

PLACE: Final = "/files/uploads"
VERSION: Final = "1.0.0"
EXTENSIONS: Final = ("creation", "creation-with-upload", "expiration", "checksum", "termination")
CHECKSUM_MISMATCH: Final = 460
METHODS: Final = ("OPTIONS", "HEAD", "POST", "PATCH", "PUT", "DELETE")

TAKEN: Final = (
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "upload-checksum",
    "x-http-method-override",
    "content-range",
)
"""Request headers that pages of other origins may send."""

SHOWN: Final = (
    "location",
    "range",
    "tus-resumable",
    "tus-version",
    "tus-extension",
    "tus-max-size",
    "tus-checksum-algorithm",
    "upload-offset",
    "upload-length",
    "upload-expires",
    "upload-metadata",
)
"""Headers of answers that they may read."""

Answering = Callable[[Request, Context], Awaitable[Response]]


def routes(schema: BaseSchema, identify: Identify) -> list[Route]:
    """Where uploads are begun, and each of them sent.

    Args:
        identify: makes the context of a request, or refuses it.
    """
    served = _Uploads(schema, identify)
    methods = [*METHODS, "GET"]
    places = {PLACE: served.begin, f"{PLACE}/": served.begin, f"{PLACE}/{{upload_id}}": served.send}
    return [Route(place, answering, methods=methods) for place, answering in places.items()]


class _Uploads:
    """Both kinds of places."""

    def __init__(self, schema: BaseSchema, identify: Identify) -> None:
        self._identify = identify
        self._init = stored("UploadInit", schema)
        self._finalize = stored("UploadFinalize", schema)

    async def begin(self, request: Request) -> Response:
        """What is asked of all uploads together."""
        return await self._respond(request, {"OPTIONS": self._discover, "POST": self._create})

    async def send(self, request: Request) -> Response:
        """What is asked of one upload."""
        answering = {
            "OPTIONS": self._discover,
            "HEAD": self._head,
            "PATCH": self._patch,
            "PUT": self._put,
            "DELETE": self._delete,
        }
        return await self._respond(request, answering)

    async def _respond(self, request: Request, known: Mapping[str, Answering]) -> Response:
        method = request.headers.get("x-http-method-override", request.method).strip().upper()
        try:
            context = await self._identify(request)
        except Refusal as refusal:
            return _marked(envelope.refused(refusal, legacy=False))
        context.whole = True
        answering = known.get(method)
        if answering is None:
            answer = envelope.failed("METHOD_NOT_ALLOWED", "method not allowed", legacy=False)
            answer.status_code = 405
            answer.headers["allow"] = ", ".join(known)
        elif method not in ("OPTIONS", "PUT") and request.headers.get("tus-resumable") != VERSION:
            # PUT is none of the protocol's methods: who sends it speaks HTTP and no more.
            answer = _refused(BadInput(f"Tus-Resumable: {VERSION} is spoken here"), 412)
            answer.headers["tus-version"] = VERSION
        else:
            answer = await self._told(request, context, answering)
        if context.spent is not None:
            answer.headers.update(context.spent.headers())
        return _marked(answer)

    async def _told(self, request: Request, context: Context, answering: Answering) -> Response:
        try:
            return await answering(request, context)
        except Refusal as refusal:
            return _refused(refusal)
        except Refused as refused:
            return _failed(refused)
        except DatabaseUnavailable as error:
            return _refused(unanswered(error))
        except ClientDisconnect:
            # Nobody reads it; it only has to be no failure of ours.
            return Response(status_code=400)

    async def _discover(self, request: Request, context: Context) -> Response:
        """What is spoken here, for anybody."""
        await admit_native(context, None)
        headers = {
            "tus-version": VERSION,
            "tus-extension": ",".join(EXTENSIONS),
            "tus-checksum-algorithm": ",".join(appending.ALGORITHMS),
            "tus-max-size": str(await uploads.largest(context)),
        }
        return Response(status_code=204, headers=headers)

    async def _create(self, request: Request, context: Context) -> Response:
        async with _recorded(context, Permission.UPLOAD_INIT):
            for header in ("upload-defer-length", "upload-concat"):
                if header in request.headers:
                    raise BadInput(f"{header}: this extension is not spoken here")
            size = tus_headers.number(request.headers, "upload-length")
            known = tus_headers.metadata(request.headers)
            checksum, brings = tus_headers.checksum(request.headers), tus_headers.brings(request.headers)
            if brings:
                tus_headers.require_stretch(request.headers)
        wanted = {
            "filename": known.get("filename") or known.get("name") or "upload",
            "size_bytes": size,
            "chunk_bytes": appending.CHUNK_BYTES,
            "sha256": known.get("sha256"),
        }
        begun = (await self._init.run(context, wanted))["uploadInit"]["upload"]
        headers = {"location": f"{PLACE}/{begun['id']}", **(REPLAYED if context.told_again else {})}
        upload_id = UUID(begun["id"])
        here = await appending.reached(context, upload_id)
        if brings:
            async with _recorded(context, uploads.CHUNK):
                await admit_native(context, Permission.UPLOAD_INIT, rate=SENDING)
                if here.offset:
                    # Begun by an earlier call of the same idempotency key: it tells how far that one came.
                    return _standing(here, 201, headers)
                answer = await self._taken(request, context, upload_id, 0, checksum=checksum)
            if isinstance(answer, Response):
                answer.headers.update(headers)
                return answer
            here = answer
        return _standing(here, 201, headers)

    async def _head(self, request: Request, context: Context) -> Response:
        upload_id = await self._let_pass(request, context)
        here = await appending.reached(context, upload_id)
        if here.unverified:
            # Whoever sent the last byte, or the server, was gone before it was verified. Told that all is there, a
            # client would believe that all is well.
            here = await self._verified(context, here)
        upload = here.upload
        named = {"filename": upload.filename.encode()}
        told = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in named.items())
        headers = {"upload-length": str(upload.size_bytes), "upload-metadata": told}
        return _standing(here, 200, headers)

    async def _patch(self, request: Request, context: Context) -> Response:
        async with _recorded(context, uploads.CHUNK):
            upload_id = await self._let_pass(request, context)
            tus_headers.require_stretch(request.headers)
            offset = tus_headers.number(request.headers, "upload-offset")
            checksum = tus_headers.checksum(request.headers)
            answer = await self._taken(request, context, upload_id, offset, checksum=checksum)
        return answer if isinstance(answer, Response) else _standing(answer, 204)

    async def _put(self, request: Request, context: Context) -> Response:
        """The whole file, or its rest; 308 with `Range` as long as it is not whole."""
        began = time.perf_counter()
        async with _recorded(context, uploads.CHUNK):
            upload_id = await self._let_pass(request, context)
            here = await appending.reached(context, upload_id)
            asked = tus_headers.beginning(request.headers, here.upload.size_bytes)
            if asked is not None:
                if asked not in (0, here.offset):
                    told = Conflict(f"the upload goes on at {here.offset}, not at {asked}")
                    await refused_native(context, uploads.CHUNK, told)
                    return _refused(told, 416, _come(here))
                answer = await self._taken(request, context, upload_id, asked, again=True)
                if isinstance(answer, Response):
                    return answer
                here = answer
        if here.offset < here.upload.size_bytes:
            return Response(status_code=308, headers=_come(here))
        data = await self._finalized(context, upload_id)
        done = envelope.told(data, 200, taken_ms=ms_since(began))
        done.headers.update(_come(here))
        return done

    async def _delete(self, request: Request, context: Context) -> Response:
        async with _recorded(context, appending.TERMINATED):
            upload_id = await self._let_pass(request, context)
        await appending.terminate(context, upload_id)
        return Response(status_code=204)

    async def _let_pass(self, request: Request, context: Context) -> UUID:
        """The id of the upload, once the caller may send, and not too often."""
        await admit_native(context, Permission.UPLOAD_INIT, rate=SENDING)
        return upload_id_of(request.path_params["upload_id"])

    async def _taken(
        self,
        request: Request,
        context: Context,
        upload_id: UUID,
        offset: int,
        *,
        checksum: Checksum | None = None,
        again: bool = False,
    ) -> Reached | Response:
        """How far the upload has come with what a request brings, verified if that was the last of it; or a refusal."""
        body, announced = _Body(request), tus_headers.announced(request.headers)
        try:
            here = await appending.append(
                context, upload_id, offset, body.blocks(), announced=announced, checksum=checksum, again=again
            )
        except Mismatch as refusal:
            here = await appending.reached(context, upload_id)
            await refused_native(context, uploads.CHUNK, refusal)
            return _refused(refusal, CHECKSUM_MISMATCH, _come(here))
        except Conflict as refusal:
            here = await appending.reached(context, upload_id)
            await refused_native(context, uploads.CHUNK, refusal)
            return _refused(refusal, headers=_come(here))
        if body.broken:
            raise ClientDisconnect
        if not here.unverified:
            return here
        try:
            return await self._verified(context, here)
        except Refused as refused:
            answer = _failed(refused)
            answer.headers.update(_come(here))
            return answer

    async def _verified(self, context: Context, here: Reached) -> Reached:
        """The same upload, complete.

        Raises:
            Refused: it is not what it should be.
        """
        await self._finalized(context, here.upload.id)
        return await appending.reached(context, here.upload.id)

    async def _finalized(self, context: Context, upload_id: UUID) -> dict[str, Any]:
        # The key of the request belongs to its beginning; finalizing may be repeated without one.
        context.idempotency_key = None
        answer = await self._finalize.run(context, {"upload_id": str(upload_id)})
        found: dict[str, Any] = answer["uploadFinalize"]["upload"]
        return found


class _Body:
    """The body of a request, as far as it comes."""

    def __init__(self, request: Request) -> None:
        self.broken = False
        """Whether the connection broke before its end."""

        self._request = request

    async def blocks(self) -> AsyncIterator[bytes]:
        """What comes; a broken connection is an end like any other, so that what came before it is kept."""
        try:
            async for block in self._request.stream():
                yield block
        except ClientDisconnect:
            self.broken = True


@asynccontextmanager
async def _recorded(context: Context, action: str) -> AsyncIterator[None]:
    """Put on record what is refused in the block; what is refused by an action is on record already, and not here."""
    try:
        yield
    except Refusal as refusal:
        await refused_native(context, action, refusal)
        raise


def _marked(answer: Response) -> Response:
    answer.headers["tus-resumable"] = VERSION
    answer.headers["cache-control"] = "no-store"
    return answer


def _refused(refusal: Refusal, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    answer = envelope.refused(refusal, legacy=False)
    answer.status_code = status or answer.status_code
    answer.headers.update(headers or {})
    return answer


def _failed(refused: Refused) -> Response:
    return envelope.failed(refused.code, str(refused), retry_after=refused.retry_after, legacy=False)


def _standing(here: Reached, status: int, headers: Mapping[str, str] | None = None) -> Response:
    found = {"upload-offset": str(here.offset), **(headers or {})}
    if here.upload.status is not UploadStatus.COMPLETED:
        found["upload-expires"] = format_datetime(here.upload.expires_at.astimezone(UTC), usegmt=True)
    return Response(status_code=status, headers=found)


def _come(here: Reached) -> dict[str, str]:
    """How far it has come, for clients of either kind."""
    there = {"range": f"bytes=0-{here.offset - 1}"} if here.offset else {}
    return {"upload-offset": str(here.offset), **there}
