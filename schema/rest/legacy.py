"""How clients from before spell things: what they send, understood, and what they read, beside the envelope.

What they send is read by functions of the value and the context; a word that is none of theirs is left to be judged by
its type. What they read is made of an endpoint's whole answer, and stands below `/api` only.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypedDict
from uuid import UUID

from msgspec import Meta

from db.pages import MOST
from guards.errors import BadInput
from resolvers.context import Context
from resolvers.jobs import MOST_CLIPS
from schema.rest.rows import Answer
from workers.agents.wishes import LONGEST_CLIP_S, SHORTEST_CLIP_S

NOBODY: Final = UUID(int=0)
"""Stands for whoever is not known here."""

ME: Final = frozenset({"me", "user1", "anonymous"})
"""Whom clients name when they mean who is signed in: they were written when nobody ever was."""

EVERY: Final = frozenset({"", "all", "any"})
"""What stands in a filter that does not narrow."""

STATUSES: Final[Mapping[str, str]] = {"pending": "queued", "running": "processing", "canceled": "cancelled"}
"""Statuses by other words."""

PRIORITIES: Final[Mapping[str, int]] = {"low": 2, "normal": 5, "high": 8, "urgent": 10}
"""Priorities in words."""

WISHES: Final[Mapping[str, str]] = {
    "aspect": "aspect",
    "min_seconds": "minSeconds",
    "max_seconds": "maxSeconds",
    "max_clips": "maxClips",
    "platforms": "platforms",
}
"""Wishes for the clips, by what clients call them."""

_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,49}")


Seconds = Annotated[float, Meta(ge=SHORTEST_CLIP_S, le=LONGEST_CLIP_S)]


class OldWishes(TypedDict, total=False):
    """How the clips should be; anything else that stands there is passed over."""

    aspect: str | None
    """Across and down, such as `9:16`, or `source` for the shape of the video."""

    min_seconds: Seconds | None
    max_seconds: Seconds | None
    max_clips: Annotated[int, Meta(ge=1, le=MOST_CLIPS)] | None
    platforms: list[str] | None
    """For which platforms posts are written, such as `tiktok`."""


class OldJob(TypedDict):
    """A job as clients from before read it."""

    id: str
    user_id: str | None
    status: str
    progress: int
    message: str
    priority: int
    video_url: str | None
    video_title: str
    workflow_type: str
    current_step: str | None
    error_message: str | None
    retry_count: int
    worker_id: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None
    updated_at: str


class Validation(TypedDict):
    """What is known of a clip's file."""

    duration: float
    is_valid: bool


class OldClip(TypedDict):
    """A clip as clients from before read it."""

    id: str
    job_id: str
    title: str
    name: str
    filename: str
    description: str
    """What its score is made of, in words."""

    url: str
    streamUrl: str
    downloadUrl: str
    download_url: str
    file_path: str
    """Where it can be fetched, too: a path of the server would be of no use."""

    path: str
    thumbnail: str | None
    duration: float
    aiScore: float
    """0..100."""

    isValid: bool
    is_valid: bool
    validation: Validation
    clipType: str
    size: int
    """Bytes."""

    created: str


class QueueFigures(TypedDict):
    """The queue in figures, as clients from before read it."""

    queue_depth: int
    pending: int
    processing: int
    completed: int
    failed: int
    completed_today: int
    failed_today: int
    queue_throughput: dict[str, Any]
    avg_wait_time: float | None
    avg_processing_time: float | None
    success_rate_24h: float | None
    worker_utilization: float | None
    oldest_age_s: float | None


def owner(value: str, context: Context) -> str | None:
    """Whose jobs are asked for; None for everybody's. Somebody unknown has none."""
    word = value.strip()
    if word.lower() in EVERY:
        return None
    if word.lower() in ME:
        return str(context.caller.user_id)
    return word if _is_id(word) else str(NOBODY)


def user(value: str, context: Context) -> str:
    """The same where somebody must be named."""
    return owner(value, context) or str(NOBODY)


def status(value: Any, _context: Context) -> Any:
    """A status, by whatever word."""
    return STATUSES.get(value.strip().lower(), value) if isinstance(value, str) else value


def statuses(value: Any, context: Context) -> Any:
    """Several statuses with commas between them; None for all."""
    if str(value).strip().lower() in EVERY:
        return None
    return ",".join(status(each.strip(), context) for each in str(value).split(","))


def limit(value: Annotated[int, Meta(ge=1, le=MOST)], _context: Context) -> int:
    """How many rows are asked for.

    Raises:
        BadInput: it is no number in range.
    """
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST:
        raise BadInput(f"limit: a whole number, 1 to {MOST}, is needed, not {text[:50]!r}")
    return int(text)


def source(value: Annotated[str, Meta(min_length=1)], _context: Context) -> dict[str, str]:
    """Where a job's video comes from: an address, the id of an upload, or a file of the server.

    Raises:
        BadInput: it is no text, or blank.
    """
    word = value.strip() if isinstance(value, str) else ""
    if not word:
        raise BadInput("video_url, input_source, upload_id: an address, an upload or a file must be named")
    if _ADDRESS.match(word):
        return {"url": word}
    return {"uploadId": word} if _is_id(word) else {"path": word}


def priority(
    value: Annotated[int, Meta(ge=0, le=10)] | Literal["low", "normal", "high", "urgent"], _context: Context
) -> int:
    """How urgent a job is, in a number or a word.

    Raises:
        BadInput: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in PRIORITIES:
        raise BadInput(f"priority: 0 to 10, or one of {', '.join(PRIORITIES)}, is needed, not {word[:50]!r}")
    return PRIORITIES[word]


def workflow(value: str, _context: Context) -> str | None:
    """What kind of work a job is; what is no word is passed over."""
    word = str(value).strip().lower()
    return word if _WORD.fullmatch(word) else None


def wishes(value: OldWishes, _context: Context) -> dict[str, Any]:
    """How the clips should be, as far as it can be had.

    Raises:
        BadInput: it is no object.
    """
    if not isinstance(value, dict):
        raise BadInput("options: an object is needed")
    said: Mapping[str, Any] = value
    return {name: said[other] for other, name in WISHES.items() if said.get(other) is not None}


def job(answer: Answer) -> OldJob:
    """The job of an answer."""
    return _job(answer["data"])


def jobs(answer: Answer) -> list[OldJob]:
    """The jobs of an answer."""
    return [_job(each) for each in answer["data"]]


def data_source(_answer: Answer) -> str:
    """Where an answer was read."""
    return "database"


def clip(answer: Answer) -> OldClip:
    """The clip of an answer."""
    return _clip(answer["data"])


def clips(answer: Answer) -> list[OldClip]:
    """The clips of an answer."""
    return [_clip(each) for each in answer["data"]]


def how_many(answer: Answer) -> int:
    """How many rows an answer has."""
    return len(answer["data"])


def queue_figures(answer: Answer) -> QueueFigures:
    """The queue in figures."""
    queue = answer["data"]
    figures = queue["statistics"]
    return {
        "queue_depth": queue["depth"],
        "pending": queue["pending"],
        "processing": queue["processing"],
        "completed": queue["completed"],
        "failed": queue["failed"],
        "completed_today": figures["completed_today"],
        "failed_today": figures["failed_today"],
        "queue_throughput": figures["queue_throughput"],
        "avg_wait_time": figures["avg_wait_time"],
        "avg_processing_time": figures["avg_processing_time"],
        "success_rate_24h": figures["success_rate_24h"],
        "worker_utilization": figures["worker_utilization"],
        "oldest_age_s": queue["oldest_age_s"],
    }


def _job(found: Mapping[str, Any]) -> OldJob:
    return {
        "id": found["id"],
        "user_id": found["user_id"],
        "status": found["status"],
        "progress": found["progress"],
        "message": found["message"],
        "priority": found["priority"],
        "video_url": found["source"]["address"],
        "video_title": found["title"],
        "workflow_type": found["workflow_type"],
        "current_step": found["current_step"],
        "error_message": found["error_message"],
        "retry_count": found["retry_count"],
        "worker_id": found["worker_id"],
        "created_at": found["created_at"],
        "started_at": found["started_at"],
        "completed_at": found["completed_at"],
        "updated_at": found["updated_at"],
    }


def _clip(found: Mapping[str, Any]) -> OldClip:
    return {
        "id": found["id"],
        "job_id": found["job_id"],
        "title": found["title"],
        "name": found["title"] or found["filename"],
        "filename": found["filename"],
        "description": ", ".join(part["reason"] for part in found["reasons"]),
        "url": found["url"],
        "streamUrl": found["url"],
        "downloadUrl": found["download_url"],
        "download_url": found["download_url"],
        "file_path": found["download_url"],
        "path": found["url"],
        "thumbnail": found["thumbnail_url"],
        "duration": found["duration"],
        "aiScore": found["score"],
        "isValid": found["available"],
        "is_valid": found["available"],
        "validation": {"duration": found["duration"], "is_valid": found["available"]},
        "clipType": found["shape"],
        "size": found["size_bytes"],
        "created": found["created_at"],
    }


def _is_id(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True
