"""A client of the API as any other: GraphQL over HTTP, uploads in chunks, subscriptions over graphql-transport-ws.

It knows nothing of how the API works inside; what it can do, a script of somebody else can do as well.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

ANSWER_S: Final = 30.0
LOOK_EVERY_S: Final = 5.0
"""How often a watched job is asked for although nothing was told: events may be lost with a connection."""

STATE: Final = """
fragment State on Job {
  id title status progress currentStep errorCode errorMessage createdAt completedAt
  source { kind address }
  steps { agentId status progress message durationS }
  clips { id title durationS score width height url }
}
"""


class Refused(Exception):
    """The API understood and would not; `code` is one of `docs/guide.md#refusals`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class Away(Exception):
    """The API does not answer, or not as an AgentOS does."""


class Data(msgspec.Struct, frozen=True, rename="camel"):
    """What the API tells; its fields are named as in the schema."""


class Source(Data, frozen=True, rename="camel"):
    """Where a job's video comes from."""

    kind: str
    address: str | None
    """The URL, or the path on the server; None for an upload."""


class Step(Data, frozen=True, rename="camel"):
    """One agent's turn."""

    agent_id: str
    status: str
    progress: float
    message: str | None
    duration_s: float | None


class Clip(Data, frozen=True, rename="camel"):
    """One finished clip."""

    id: str
    title: str
    duration_s: float
    score: float
    width: int
    height: int
    url: str


class Job(Data, frozen=True, rename="camel"):
    """A job as it stands."""

    id: str
    title: str
    status: str
    progress: int
    current_step: str | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    completed_at: datetime | None
    source: Source
    steps: list[Step]
    clips: list[Clip]

    @property
    def called(self) -> str:
        """Its title, or where its video comes from; empty for an upload without a name."""
        return self.title or self.source.address or ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status.lower() in ("completed", "failed", "cancelled")


class Client:
    """One signed-in client, for as long as its block lasts."""

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        """A client of the API at `url`; `token` is asked for an access token before each call."""
        self.url = url.rstrip("/")
        self._token = token
        self._http = httpx.AsyncClient(base_url=self.url, timeout=ANSWER_S, trust_env=False)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The data an operation gives.

        Raises:
            Refused: the API says why it will not.
            Away: nobody answers.
        """
        answer = await self._post("/graphql", json={"query": document, "variables": dict(variables or {})})
        body = _decoded(answer)
        if errors := body.get("errors"):
            raise Refused(errors[0].get("extensions", {}).get("code", "INTERNAL_ERROR"), errors[0]["message"])
        data: dict[str, Any] = body["data"]
        return data

    async def upload(self, file: Path, sent: Callable[[int], None] = lambda _: None) -> str:
        """Send a file chunk by chunk and have it verified; its upload's id.

        Args:
            sent: told after each chunk how many bytes are there.
        """
        size, digest = await asyncio.to_thread(_measured, file)
        begun = await self.ask(
            "mutation($input: UploadInitInput!) { uploadInit(input: $input) { upload { id chunkBytes } } }",
            {"input": {"filename": file.name, "sizeBytes": size, "sha256": digest}},
        )
        upload = begun["uploadInit"]["upload"]
        there = 0
        with file.open("rb") as source:
            for index, chunk in enumerate(iter(lambda: source.read(upload["chunkBytes"]), b"")):
                await self._send(upload["id"], index, chunk)
                there += len(chunk)
                sent(there)
        await self.ask(
            "mutation($input: UploadFinalizeInput!) { uploadFinalize(input: $input) { upload { id status } } }",
            {"input": {"uploadId": upload["id"], "sha256": digest}},
        )
        return str(upload["id"])

    async def submit(self, source: Mapping[str, str], title: str = "") -> Job:
        """Queue a job; `source` is one of `uploadId`, `url` and `path`."""
        made = await self.ask(
            "mutation($input: JobCreateInput!) { jobCreate(input: $input) { job { ...State } } }" + STATE,
            {"input": {"source": dict(source), "title": title}},
        )
        return msgspec.convert(made["jobCreate"]["job"], Job)

    async def job(self, job_id: str) -> Job | None:
        """A job as it stands now, or None when there is none that this user may see."""
        found = await self.ask("query($id: ID!) { job(id: $id) { ...State } }" + STATE, {"id": job_id})
        return msgspec.convert(found["job"], Job | None)

    async def jobs(self, most: int) -> list[Job]:
        """The newest jobs first."""
        found = await self.ask(
            "query($most: Int!) { jobs(first: $most) { edges { node { ...State } } } }" + STATE, {"most": most}
        )
        return [msgspec.convert(edge["node"], Job) for edge in found["jobs"]["edges"]]

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job, or ask its worker to stop."""
        done = await self.ask(
            "mutation($input: JobCancelInput!) { jobCancel(input: $input) { job { ...State } } }" + STATE,
            {"input": {"jobId": job_id}},
        )
        return msgspec.convert(done["jobCancel"]["job"], Job)

    async def follow(self, job_id: str) -> AsyncIterator[Job]:
        """How a job stands, at first and after each change, until it has ended.

        Listens over a WebSocket; where that breaks off, the job is asked for every few seconds, so nothing is missed.
        """
        while True:
            with contextlib.suppress(WebSocketException, OSError, TimeoutError):
                async with self._listening() as socket:
                    subscription = "subscription($id: ID) { jobChanged(id: $id) { __typename } }"
                    payload = {"query": subscription, "variables": {"id": job_id}}
                    await _tell(socket, {"id": "1", "type": "subscribe", "payload": payload})
                    while True:
                        job = await self.job(job_id)
                        if job is None:
                            return
                        yield job
                        if job.ended:
                            return
                        await _next(socket)
            await asyncio.sleep(1)

    async def fetched(self, url: str) -> bytes:
        """The bytes behind one of the API's signed links."""
        try:
            answer = await self._http.get(url)
        except httpx.TransportError as error:
            raise Away(f"{url} does not answer: {error}") from error
        if answer.status_code != 200:
            raise Refused(str(answer.status_code), f"{url.partition('?')[0]} cannot be fetched")
        return answer.content

    async def _send(self, upload_id: str, index: int, chunk: bytes) -> None:
        answer = await self._post(
            "/api/upload/chunk",
            data={"upload_id": upload_id, "chunk_index": str(index)},
            files={"file": ("chunk", chunk, "application/octet-stream")},
        )
        if answer.status_code != 200:
            body = _decoded(answer)
            raise Refused(str(body.get("error_code", answer.status_code)), str(body.get("error", "refused")))

    async def _post(self, path: str, **content: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token()}", "accept": "application/json"}
        try:
            return await self._http.post(path, headers=headers, **content)
        except httpx.TransportError as error:
            raise Away(f"{self.url} does not answer: {error or type(error).__name__}") from error

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[ClientConnection]:
        url = f"ws{self.url.removeprefix('http')}/graphql"
        protocol = Subprotocol("graphql-transport-ws")
        async with connect(url, subprotocols=[protocol], open_timeout=ANSWER_S, proxy=None) as socket:
            await _tell(socket, {"type": "connection_init", "payload": {"authorization": f"Bearer {self._token()}"}})
            async with asyncio.timeout(ANSWER_S):
                await socket.recv()
            yield socket


async def _tell(socket: ClientConnection, message: Mapping[str, Any]) -> None:
    await socket.send(msgspec.json.encode(message).decode())


async def _next(socket: ClientConnection) -> None:
    """Wait until something is told, at most a few seconds; what waits already counts as one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_S):
            await _heard(socket)
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.02):
                await _heard(socket)


async def _heard(socket: ClientConnection) -> None:
    """Wait for a change to be told.

    Raises:
        Refused: the API will not tell.
        ConnectionError: it ended the subscription.
    """
    while True:
        message = msgspec.json.decode(await socket.recv())
        match message["type"]:
            case "ping":
                await _tell(socket, {"type": "pong"})
            case "next" if not message["payload"].get("errors"):
                return
            case "next" | "error":
                payload = message["payload"]
                first = (payload if isinstance(payload, list) else payload["errors"])[0]
                raise Refused(first.get("extensions", {}).get("code", "INTERNAL_ERROR"), first["message"])
            case "complete":
                raise ConnectionError("the API has nothing more to tell here")


def _decoded(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Away(f"{answer.request.url} answers with {answer.status_code} and no JSON; is it an AgentOS?")
    return body


def _measured(file: Path) -> tuple[int, str]:
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return file.stat().st_size, digest
