"""A call of every REST endpoint: as little as it takes, about one's own, somebody else's, or nothing there is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

from schema.rest.rows import Endpoint


class Case(StrEnum):
    """What a call is about."""

    OWN = "own"
    FOREIGN = "foreign"
    MISSING = "missing"
    MALFORMED = "malformed"


Things = Mapping[str, str]
"""Ids by what they are of: `user`, `job` (waiting), `failed` (a job), `clip`, `upload` (begun), `sent`, `token`."""

Sent = Callable[[Things], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How an endpoint is called."""

    about: str | None = None
    """What it is about; None when it is about nobody's things."""

    uses: tuple[str, ...] = ()
    """What it takes besides, that is always the caller's own."""

    path: Mapping[str, str] = field(default_factory=dict)
    """Parameters of its path, each a thing's name, or a word of its own after a `=`."""

    sent: Sent = lambda _: {}
    """What else is sent, as httpx takes it."""

    malformed: Sent | None = None
    """The same with something wrong in it; None when there is nothing that could be."""

    malformed_path: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> set[str]:
        """The things that it takes."""
        in_path = {value for value in self.path.values() if not value.startswith("=")}
        return in_path | set(self.uses) | ({self.about} if self.about else set())

    @property
    def cases(self) -> list[Case]:
        """What it can be about."""
        owned = [Case.OWN, Case.FOREIGN, Case.MISSING] if self.about else [Case.OWN]
        return owned + ([Case.MALFORMED] if self.malformed or self.malformed_path else [])


def query(**values: object) -> Sent:
    """A query string."""
    return lambda _: {"params": values}


def json(**values: object) -> Sent:
    """A JSON body, in which `$job` is that thing's id."""

    def filled(value: object, things: Things) -> object:
        if isinstance(value, dict):
            return {key: filled(each, things) for key, each in value.items()}
        return things[value[1:]] if isinstance(value, str) and value.startswith("$") else value

    return lambda things: {"json": filled(values, things)}


def form(upload: str, index: str = "0") -> Sent:
    """A chunk."""
    return lambda things: {
        "data": {"upload_id": things[upload], "chunk_index": index},
        "files": {"file": ("blob", b"\0" * 1000)},
    }


BAD_PAGE: Final = query(page="0")
AGENT: Final = {"agent_id": "=clipper"}
NO_AGENT: Final = {"agent_id": "=no%20such"}

CALLS: Final[Mapping[str, Call]] = {
    "GET /admin/ssot": Call(malformed=query(time_range="1y")),
    "GET /admin/ssot/dashboard": Call(),
    "GET /admin/ssot/health": Call(),
    "POST /admin/action": Call(
        about="job",
        sent=json(action="job.cancel", payload={"job_id": "$job"}),
        malformed=json(payload={"job_id": "$job"}),
    ),
    "GET /admin/action/status": Call(),
    "GET /jobs/today": Call(malformed=BAD_PAGE),
    "GET /jobs/history": Call(malformed=query(status="odd")),
    "GET /jobs/{job_id}": Call(about="job", path={"job_id": "job"}, malformed_path={"job_id": "=%F0%9F%90%99"}),
    "GET /jobs/{job_id}/clips": Call(about="job", path={"job_id": "job"}),
    "GET /jobs/{job_id}/retry": Call(about="job", path={"job_id": "failed"}),
    "GET /jobs/status/{status}": Call(path={"status": "=queued"}, malformed_path={"status": "=odd"}),
    "GET /jobs/summary/stats": Call(),
    "GET /jobs/recent/{limit}": Call(path={"limit": "=5"}, malformed_path={"limit": "=-1"}),
    "POST /jobs/create": Call(sent=json(video_url="https://example.org/v.mp4"), malformed=json(video_url=" ")),
    "POST /jobs/{job_id}/cancel": Call(about="job", path={"job_id": "job"}),
    "POST /jobs/{job_id}/status": Call(
        about="job", path={"job_id": "job"}, sent=json(status="cancelled"), malformed=json(status="odd")
    ),
    "GET /jobs/{job_id}/status": Call(about="job", path={"job_id": "job"}),
    "GET /jobs/user/{user_id}": Call(about="user", path={"user_id": "user"}, malformed=BAD_PAGE),
    "GET /agents": Call(),
    "GET /agents/status": Call(),
    "GET /agents/{agent_id}": Call(path=AGENT, malformed_path=NO_AGENT),
    "POST /agents/{agent_id}/start": Call(path=AGENT, malformed_path=NO_AGENT),
    "POST /agents/{agent_id}/stop": Call(path=AGENT, malformed_path=NO_AGENT),
    "GET /agents/performance": Call(),
    "GET /agents/health": Call(),
    "POST /agents/restart": Call(),
    "GET /agents/logs/{agent_id}": Call(path=AGENT, malformed=BAD_PAGE),
    "GET /agents/config": Call(),
    "POST /agents/config": Call(
        sent=json(agent_id="clipper", timeout=60), malformed=json(agent_id="clipper", timeout="long")
    ),
    "GET /agents/queue/{agent_id}": Call(path=AGENT, malformed=query(limit="many")),
    "POST /agents/clear-queue": Call(sent=json(agent_id="clipper"), malformed=json(agent_id=7)),
    "GET /upload": Call(malformed=BAD_PAGE),
    "POST /upload/init": Call(sent=json(filename="a.mp4", file_size=1000), malformed=json(file_size="x")),
    "POST /upload/chunk": Call(about="upload", sent=form("upload"), malformed=form("upload", index="x")),
    "POST /upload/finalize": Call(
        about="sent", sent=json(upload_id="$sent", total_chunks=3), malformed=json(total_chunks=1)
    ),
    "GET /upload/status/{upload_id}": Call(about="upload", path={"upload_id": "upload"}),
    "GET /queue/status": Call(),
    "GET /queue/details": Call(malformed=BAD_PAGE),
    "GET /queue/stats": Call(),
    "GET /clips/recent": Call(malformed=query(limit="0")),
    "GET /clips/{clip_id}": Call(about="clip", path={"clip_id": "clip"}),
    "GET /": Call(),
    "GET /health": Call(),
    "GET /analytics/metrics": Call(malformed=query(time_range="1y")),
    "POST /auth/refresh": Call(uses=("token",), sent=json(refresh_token="$token"), malformed=json()),
}

NOWHERE: Final[Things] = {name: str(uuid4()) for name in ("user", "job", "failed", "clip", "upload", "sent", "token")}


def name_of(endpoint: Endpoint) -> str:
    """Under what an endpoint is found above."""
    return f"{endpoint.method} {endpoint.path}"


def path_of(endpoint: Endpoint, call: Call, case: Case, things: Things) -> str:
    """The path below its prefix, with its parameters."""
    values = {**call.path, **(call.malformed_path if case is Case.MALFORMED else {})}
    return endpoint.path.format_map(
        {name: value[1:] if value.startswith("=") else things[value] for name, value in values.items()}
    )


def sent_with(call: Call, case: Case, things: Things) -> dict[str, Any]:
    """What is sent besides, as httpx takes it."""
    sent = call.malformed if case is Case.MALFORMED and call.malformed else call.sent
    return sent(things)
