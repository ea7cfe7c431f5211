"""A job as one legacy socket was told it, so that only what is new to it is told again."""

from typing import Final

from agentos.transports import legacy_messages as messages
from db.events import Cursor, Event
from db.jobs import Job
from db.models.work import JobStatus

_STATUSES: Final = frozenset(JobStatus)


class Followed:
    """One job that a socket has subscribed to."""

    def __init__(self, job: Job, edge: Cursor) -> None:
        """
        Args:
            job: as the socket is told it on its subscription.
            edge: up to where events were in that already.
        """
        self.gone = False
        """Whether there is no such job any more."""

        self._status: str = job.status
        self._come = job.progress, job.current_step
        self._edge = edge

    def told(self, event: Event) -> list[str]:
        """What a change of the job says that the socket has not been told: of its progress, then of its status."""
        if (event.cursor.xid, event.cursor.id) <= (self._edge.xid, self._edge.id):
            return []
        job_id, status = event.entity_id, event.payload["status"]
        progress, step = event.payload["progress"], event.payload["current_step"]
        if status not in _STATUSES:
            # The event says of a job that is no more that it was removed.
            self.gone = True
            return [messages.message("job_not_found", job_id=job_id)]
        texts = []
        if self._come != (progress, step):
            self._come = progress, step
            said = {"job_id": job_id, "progress": progress, "current_step": step, "agent_name": step}
            texts.append(messages.message("job_progress_update", **said))
        if self._status != status:
            self._status = status
            texts.append(messages.message("job_status_change", job_id=job_id, status=status, progress=progress))
        return texts
