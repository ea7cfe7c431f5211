"""Histories that never were: rows of jobs with all that belongs to them, thought up and not yet written.

The same seed, tenant and moment give the same rows, ids and times included. What was queued is due only in weeks and
what is processing has used up its attempts, so that no worker ever starts on a video that does not exist.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import NAMESPACE_DNS, UUID, uuid5

from db.files import FileKind
from db.models.identity import Role
from db.models.records import Severity
from db.models.work import FailureCode, JobStatus, StepStatus, UploadStatus

DOMAIN: Final = "people.example"
"""Where seeded users have their addresses; nobody real has one there (RFC 2606), so they are known by it."""

SPAN: Final = timedelta(days=30)

Record = tuple[Any, ...]

UPLOAD_COLUMNS: Final = (
    "id",
    "tenant_id",
    "user_id",
    "filename",
    "size_bytes",
    "chunk_bytes",
    "received_bytes",
    "sha256",
    "media_type",
    "status",
    "path",
    "created_at",
    "updated_at",
    "expires_at",
    "completed_at",
)
JOB_COLUMNS: Final = (
    "id",
    "tenant_id",
    "user_id",
    "upload_id",
    "source_url",
    "title",
    "workflow_type",
    "options",
    "chain",
    "status",
    "progress",
    "priority",
    "current_step",
    "error_code",
    "error_message",
    "attempt",
    "max_attempts",
    "retry_count",
    "run_at",
    "lease_until",
    "fence",
    "worker_id",
    "cancel_requested_at",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
)
STEP_COLUMNS: Final = (
    "id",
    "tenant_id",
    "job_id",
    "ordinal",
    "agent_id",
    "status",
    "attempt",
    "progress",
    "message",
    "started_at",
    "finished_at",
)
CLIP_COLUMNS: Final = (
    "id",
    "tenant_id",
    "job_id",
    "ordinal",
    "title",
    "path",
    "thumbnail_path",
    "start_s",
    "end_s",
    "duration_s",
    "width",
    "height",
    "size_bytes",
    "sha256",
    "score",
    "reasons",
    "created_at",
)
EVENT_COLUMNS: Final = (
    "id",
    "tenant_id",
    "kind",
    "severity",
    "source",
    "message",
    "data",
    "created_at",
)
LOG_COLUMNS: Final = (
    "id",
    "tenant_id",
    "level",
    "source",
    "category",
    "message",
    "trace_id",
    "data",
    "created_at",
)

PEOPLE: Final = (
    ("ada", "Ada Moreno", Role.ADMIN),
    ("oskar", "Oskar Lind", Role.OPERATOR),
    ("olivia", "Olivia Chen", Role.OPERATOR),
    ("samir", "Samir Haddad", Role.SUPERVISOR),
    ("sofie", "Sofie Jansen", Role.SUPERVISOR),
    ("uma", "Uma Rao", Role.USER),
    ("ugo", "Ugo Bianchi", Role.USER),
    ("ulla", "Ulla Berg", Role.USER),
    ("ursula", "Ursula Novak", Role.USER),
    ("umar", "Umar Diallo", Role.USER),
    ("rita", "Rita Silva", Role.READONLY),
)

MIX: Final = (
    (JobStatus.COMPLETED, 62),
    (JobStatus.FAILED, 18),
    (JobStatus.CANCELLED, 8),
    (JobStatus.QUEUED, 8),
    (JobStatus.PROCESSING, 4),
)
"""How often a job is in which status; what is processing is bounded besides, one job for each agent of the chain."""

SUBJECTS: Final = (
    "Launch day",
    "Studio tour",
    "Autumn recipes",
    "Founders' talk",
    "Trail running",
    "City by night",
    "Street interviews",
    "Workshop recap",
    "Product questions",
    "Behind the scenes",
    "Guitar lesson",
    "Garden diary",
)

FAILURES: Final = (
    (FailureCode.ATTEMPTS_SPENT, "the source did not answer within 30 s"),
    (FailureCode.STEP_FAILED, "the file holds no video stream"),
    (FailureCode.STEP_FAILED, "the video ends before its announced length"),
    (FailureCode.STEP_FAILED, "the codec of the video is not known here"),
    (FailureCode.STEP_FAILED, "the step took longer than its 900 s"),
    (FailureCode.ATTEMPTS_SPENT, "the process ended with signal 9, probably out of memory"),
)
"""Code and message; the first belongs to the agent that brings the source in."""

REASONS: Final = ("speech", "motion", "loudness", "faces", "scene change")

HAPPENINGS: Final = (
    ("worker_started", Severity.INFO, "worker", "a worker took up its work"),
    ("worker_drained", Severity.INFO, "worker", "a worker finished what it held and stopped"),
    ("lease_lost", Severity.WARNING, "queue", "a lease ran out and its job was queued again"),
    ("queue_paused", Severity.WARNING, "queue", "the queue was paused"),
    ("queue_resumed", Severity.INFO, "queue", "the queue was resumed"),
    ("queue_backlog", Severity.WARNING, "queue", "more than 50 jobs are waiting"),
    ("agent_enabled", Severity.INFO, "agents", "an agent was switched on"),
    ("agent_disabled", Severity.WARNING, "agents", "an agent was switched off"),
    ("agent_configured", Severity.INFO, "agents", "the configuration of an agent was changed"),
    ("step_failed", Severity.ERROR, "agents", "a step failed and its job with it"),
    ("step_skipped", Severity.INFO, "agents", "a step had nothing to do and was skipped"),
    ("upload_finalized", Severity.INFO, "uploads", "an upload was completed and verified"),
    ("upload_expired", Severity.INFO, "uploads", "an upload was given up by its sender and removed"),
    ("checksum_mismatch", Severity.WARNING, "uploads", "an upload arrived with other bytes than announced"),
    ("disk_low", Severity.WARNING, "storage", "less than a tenth of the disk is free"),
    ("retention_ran", Severity.DEBUG, "storage", "what had passed its time was removed"),
    ("snapshot_late", Severity.WARNING, "snapshot", "a section took longer than two seconds and kept its old value"),
    ("pool_exhausted", Severity.ERROR, "database", "no connection came free within a second"),
    ("redis_away", Severity.ERROR, "redis", "Redis did not answer"),
    ("redis_back", Severity.INFO, "redis", "Redis answers again"),
    ("sign_in_refused", Severity.WARNING, "security", "a sign-in was refused five times from one address"),
    ("backup_completed", Severity.INFO, "backup", "a backup was written and verified"),
)


@dataclass(slots=True)
class Batch:
    """Rows on their way to PostgreSQL, in the order of the columns above."""

    uploads: list[Record] = field(default_factory=list)
    jobs: list[Record] = field(default_factory=list)
    steps: list[Record] = field(default_factory=list)
    clips: list[Record] = field(default_factory=list)
    system_events: list[Record] = field(default_factory=list)
    logs: list[Record] = field(default_factory=list)


def person_id(tenant: str, name: str) -> UUID:
    """The id of a seeded user, the same whenever and with whatever seed they are made."""
    return uuid5(NAMESPACE_DNS, f"{name}.{tenant}.{DOMAIN}")


class History:
    """Thinks up rows; asked for the same things in the same order, it gives the same rows."""

    def __init__(self, tenant: str, chain: Sequence[str], *, jobs: int, seed: int, now: datetime) -> None:
        """Begin a history of so many jobs, which are thought up from the oldest to the newest."""
        self._tenant = tenant
        self._chain = list(chain)
        self._jobs = jobs
        self._begun = 0
        self._now = now
        # The tenant is part of it because ids are unique over all tenants.
        self._random = Random(f"{tenant}/{seed}")
        self._busy = 0
        self._owners = [person_id(tenant, name) for name, _, role in PEOPLE if role is not Role.READONLY]

    def batch(self, size: int) -> Batch:
        """The next jobs with their steps, clips and uploads."""
        batch = Batch()
        for _ in range(size):
            self._add_job(batch)
        return batch

    def records(self, count: int) -> Batch:
        """System events, and as many logs."""
        random, batch = self._random, Batch()
        for _ in range(count):
            at = self._now - SPAN * random.random() ** 2
            kind, severity, source, message = random.choice(HAPPENINGS)
            data = json.dumps({"host": f"node-{random.randint(1, 3)}"})
            batch.system_events.append((self._id(at), self._tenant, kind, severity, source, message, data, at))
            at += timedelta(milliseconds=random.randint(1, 400))
            kind, severity, source, message = random.choice(HAPPENINGS)
            trace = f"{random.getrandbits(128):032x}"
            batch.logs.append(
                (self._id(at), self._tenant, severity, source, "application", message, trace, "{}", min(at, self._now))
            )
        return batch

    def _add_job(self, batch: Batch) -> None:
        random = self._random
        self._begun += 1
        status = self._status()
        created = self._created(status)
        job_id, owner = self._id(created), random.choice(self._owners)
        title = f"{random.choice(SUBJECTS)} #{random.randint(1, 400)}"
        started = None if status is JobStatus.QUEUED else created + timedelta(seconds=random.uniform(0.2, 90))
        if status is JobStatus.CANCELLED and random.random() < 0.4:
            started = None
        reached, failure = self._reached(status, started is not None)
        ended = self._add_steps(batch, job_id, status, started, reached, failure and failure[1])
        if status is JobStatus.CANCELLED and started is None:
            ended = created + timedelta(seconds=random.uniform(5, 900))
        attempt = self._attempts(status, started is not None)
        finished = None if status in (JobStatus.QUEUED, JobStatus.PROCESSING) else ended
        upload_id = self._add_upload(batch, owner, title, created) if random.random() < 0.6 else None
        current = None if status is JobStatus.COMPLETED else self._chain[reached]
        batch.jobs.append(
            (
                job_id,
                self._tenant,
                owner,
                upload_id,
                None if upload_id else f"https://videos.example/{job_id.hex[-8:]}.mp4",
                title,
                "video_processing",
                "{}",
                self._chain,
                status,
                100 if status is JobStatus.COMPLETED else 100 * reached // len(self._chain),
                random.choice((3, 5, 5, 5, 5, 8)),
                current,
                failure and failure[0],
                failure and failure[1],
                attempt,
                3,
                0,
                created if status is not JobStatus.QUEUED else self._now + SPAN * random.uniform(0.25, 1),
                self._now + timedelta(hours=1) if status is JobStatus.PROCESSING else None,
                attempt,
                f"worker-{random.randint(1, 3)}.example" if started else None,
                finished if status is JobStatus.CANCELLED else None,
                created,
                started,
                finished,
                finished or (self._now if started else created),
            )
        )
        if status is JobStatus.COMPLETED:
            self._add_clips(batch, job_id, title, ended)

    def _status(self) -> JobStatus:
        """Any of the mix; the newest jobs have each status once, so that even a short history has them all."""
        left = self._jobs - self._begun
        mixed = self._random.choices([status for status, _ in MIX], [weight for _, weight in MIX])[0]
        status = MIX[left][0] if left < len(MIX) else mixed
        if status is JobStatus.PROCESSING:
            if self._busy == len(self._chain):
                return JobStatus.COMPLETED
            self._busy += 1
        return status

    def _created(self, status: JobStatus) -> datetime:
        """More of late than long ago, so that today is never empty; the finished ones in the order of time.

        In order, because an index is written several times as fast where it is only ever appended to.
        """
        random = self._random
        match status:
            case JobStatus.PROCESSING:
                return self._now - timedelta(minutes=random.uniform(16, 25))
            case JobStatus.QUEUED:
                return self._now - timedelta(minutes=random.uniform(1, 300))
        ago = (self._jobs - self._begun + random.random()) / self._jobs
        return self._now - timedelta(minutes=40) - (SPAN - timedelta(minutes=40)) * ago**2

    def _reached(self, status: JobStatus, begun: bool) -> tuple[int, tuple[str, str] | None]:
        """At which place of the chain a job is or ended, and why it failed."""
        random, last = self._random, len(self._chain) - 1
        match status:
            case JobStatus.COMPLETED:
                return len(self._chain), None
            case JobStatus.PROCESSING:
                return self._busy - 1, None
            case JobStatus.FAILED:
                failure = random.choice(FAILURES)
                return (0 if failure is FAILURES[0] else random.randint(min(1, last), last)), failure
        return (random.randint(0, last) if begun else 0), None

    def _attempts(self, status: JobStatus, begun: bool) -> int:
        if not begun:
            return 0
        if status in (JobStatus.PROCESSING, JobStatus.FAILED):
            return 3
        return 1 if self._random.random() < 0.9 else 2

    def _add_steps(
        self,
        batch: Batch,
        job_id: UUID,
        status: JobStatus,
        started: datetime | None,
        reached: int,
        message: str | None,
    ) -> datetime:
        """Returns when the last step ended, or is now."""
        random = self._random
        at = started or self._now
        for ordinal, agent_id in enumerate(self._chain):
            step_id, begins = self._id(at), at
            if ordinal < reached:
                skipped = random.random() < 0.03
                at = begins + timedelta(seconds=random.uniform(2, 75))
                row: Record = (StepStatus.SKIPPED, 1, 0.0, "there is nothing to do in this video", begins, at)
                if not skipped:
                    row = (StepStatus.COMPLETED, 1, 1.0, None, begins, at)
            elif ordinal == reached and status is JobStatus.PROCESSING:
                row = (StepStatus.PROCESSING, 1, round(random.uniform(0.1, 0.9), 2), None, begins, None)
            elif ordinal == reached and status is JobStatus.FAILED:
                at = begins + timedelta(seconds=random.uniform(2, 75))
                row = (StepStatus.FAILED, 3, round(random.uniform(0, 0.9), 2), message, begins, at)
            elif status is JobStatus.CANCELLED:
                row = (StepStatus.CANCELLED, 0, 0.0, None, None, at)
            else:
                row = (StepStatus.PENDING, 0, 0.0, None, None, None)
            batch.steps.append((step_id, self._tenant, job_id, ordinal, agent_id, *row))
        return at

    def _add_clips(self, batch: Batch, job_id: UUID, title: str, at: datetime) -> None:
        random = self._random
        best = random.uniform(70, 98)
        for rank in range(1, random.randint(1, 4) + 1):
            clip_id, digest = self._id(at), self._digest()
            begins, long = round(random.uniform(0, 540), 2), round(random.uniform(15, 60), 2)
            score = round(best - 9 * (rank - 1) - random.uniform(0, 5), 1)
            first, second = random.sample(REASONS, 2)
            share = round(score * random.uniform(0.4, 0.7), 1)
            reasons = [
                {"reason": first, "points": share},
                {"reason": second, "points": round(score - share, 1)},
            ]
            batch.clips.append(
                (
                    clip_id,
                    self._tenant,
                    job_id,
                    rank,
                    f"{title}, part {rank}",
                    self._place(FileKind.CLIPS, digest, ".mp4"),
                    self._place(FileKind.THUMBNAILS, digest, ".jpg"),
                    begins,
                    begins + long,
                    long,
                    *random.choice(((1080, 1920), (720, 1280))),
                    int(long * random.uniform(180_000, 450_000)),
                    digest,
                    score,
                    json.dumps(reasons),
                    at,
                )
            )

    def _add_upload(self, batch: Batch, owner: UUID, title: str, at: datetime) -> UUID:
        random = self._random
        begins = at - timedelta(seconds=random.uniform(5, 120))
        upload_id, digest, size = self._id(begins), self._digest(), random.randint(8_000_000, 100_000_000)
        batch.uploads.append(
            (
                upload_id,
                self._tenant,
                owner,
                f"{title.partition(' #')[0].lower().replace(' ', '-')}.mp4",
                size,
                8_388_608,
                size,
                digest,
                "video/mp4",
                UploadStatus.COMPLETED,
                self._place(FileKind.UPLOADS, digest, ".mp4"),
                begins,
                at,
                begins + timedelta(days=1),
                at,
            )
        )
        return upload_id

    def _digest(self) -> str:
        return f"{self._random.getrandbits(256):064x}"

    def _place(self, kind: FileKind, digest: str, suffix: str) -> str:
        """Where a file of that digest would be, so that a link to it leads nowhere instead of failing."""
        return f"{self._tenant}/{kind}/{digest[:2]}/{digest}{suffix}"

    def _id(self, at: datetime) -> UUID:
        """A UUIDv7 of that moment."""
        bits, ms = self._random.getrandbits(74), int(at.timestamp() * 1000)
        return UUID(int=ms << 80 | 7 << 76 | bits >> 62 << 64 | 2 << 62 | bits & 0x3FFF_FFFF_FFFF_FFFF)
