"""What the server says over the legacy WebSocket, in the words and under the names that its clients know.

Times are UTC and end in `Z`. An agent is called by its id; a job's status is spelled as everywhere else.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from db.jobs import Job
from db.models.work import JobStatus
from db.steps import Step
from db.workers import Presence
from resolvers.queries.queues import Numbers

SOURCE: Final = "snapshot"
"""What an `admin_data_update` says where it comes from."""

_ENCODER: Final = msgspec.json.Encoder()


def message(type: str, **said: Any) -> str:
    """A message of some type, stamped with the time."""
    return _ENCODER.encode({"type": type, **said, "timestamp": datetime.now(UTC)}).decode()


def queue_stats(numbers: Numbers, *, type: str = "queue_stats") -> str:
    """How many jobs are where; `queue_stats_update` where nobody asked."""
    return message(
        type,
        queue_length=numbers.jobs[JobStatus.QUEUED],
        processing_jobs=numbers.jobs[JobStatus.PROCESSING],
        total_jobs=sum(numbers.jobs.values()),
        completed_jobs=numbers.jobs[JobStatus.COMPLETED],
        failed_jobs=numbers.jobs[JobStatus.FAILED],
        active_workers=numbers.workers_alive,
    )


def job_status(job: Job, steps: Sequence[Step]) -> str:
    """How a job stands, step by step."""
    return message(
        "job_status",
        job_id=job.id,
        status=job.status,
        progress=job.progress,
        current_step=job.current_step,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        processing_steps=[
            {
                "step_name": step.agent_id,
                "status": step.status,
                "duration_seconds": step.duration_s,
                "completed_at": step.finished_at,
            }
            for step in steps
        ],
    )


def worker_status(worker_id: str, presence: Presence) -> str:
    """How a worker looks, in the words of the snapshot."""
    return message("worker_status_update", worker_id=worker_id, status=presence)


def admin_data(body: bytes, made_at: datetime) -> str:
    """A whole snapshot, given as JSON, and when it was made."""
    said = {"type": "admin_data_update", "timestamp": made_at, "source": SOURCE, "data": msgspec.Raw(body)}
    return _ENCODER.encode(said).decode()


def error(code: str, told: str, *, retry_after: int | None = None) -> str:
    """Why something was not done, and in how many seconds it may be, where waiting helps."""
    waiting = {} if retry_after is None else {"retry_after": retry_after}
    return message("error", code=code, message=told, **waiting)
