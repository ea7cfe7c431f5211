"""Workers looked at and told how to work: their health, their log, their settings, their pauses, their files."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta
from msgspec.structs import replace

from db import assets, logs, services, workers
from db.files import MB
from db.logs import LogLine
from db.models.control import AssetTarget, ProcessState
from db.models.work import WorkerState
from db.rows import Row
from db.services import Process, Service
from db.workers import OnDuty
from guards.breakers import Dependency
from guards.errors import BadInput, Conflict, NotControllable, NotFound
from resolvers import uploads, waiting
from resolvers.actions.agents_workers.single import Concurrency, Queues, known_queues
from resolvers.actions.contract import Action, Call, Payload, UploadId, View, WorkerId, action
from resolvers.context import Services
from resolvers.timing import age_s

OBEYED_S: Final = 5.0
"""How long is waited for workers to say that they obey; they look twice a second."""

NOBODY: Final = "no worker was heard of within fifteen seconds: there is nobody who would obey"


class WorkerHealthCheckInput(Payload, frozen=True, kw_only=True):
    """Which worker to look at."""

    worker_id: WorkerId | None = None
    """Left out, all of them."""


class WorkerHealth(Row, frozen=True, kw_only=True):
    """How one worker is, by its own word and by what its supervisor sees."""

    worker_id: str
    """What its supervisor calls it, or else its id."""

    id: str | None
    """Of its process; null when that was never heard of."""

    hostname: str | None
    pid: int | None
    alive: bool
    """Whether it was heard of within fifteen seconds."""

    state: WorkerState | None
    """What it last said."""

    supervised: bool
    """Whether the supervisor here started it, and can stop it."""

    process_state: ProcessState | None
    """What the supervisor sees."""

    heartbeat_age_s: float | None
    uptime_s: float | None
    cpu_percent: float | None
    """Of one core, with what it started if its supervisor measures it."""

    memory_mb: float | None
    restarts: int | None
    """How often it ended by itself and was started again."""

    current_jobs: list[UUID]
    jobs_completed: int | None
    jobs_failed: int | None
    settings: dict[str, Any]


class WorkersHealth(Row, frozen=True, kw_only=True):
    """How the workers are."""

    workers: list[WorkerHealth]
    supervisor: bool
    """Whether there is one that could start and stop them."""


@action("worker.health_check", View.AGENTS_WORKERS, natural=True, target="worker_id")
async def worker_health_check(call: Call[WorkersHealth], asked: WorkerHealthCheckInput) -> WorkersHealth:
    """Look how a worker is, or all of them.

    Raises:
        NotFound: there is no such worker.
    """
    charge = await services.in_charge(call.tx)
    there = [] if charge is None else await services.of_service(call.tx, Service.WORKERS)
    said = await workers.on_duty(call.tx)
    by_pid = {} if charge is None else {one.pid: one for one in said if one.hostname == charge.hostname}
    pairs: list[tuple[Process | None, OnDuty | None]] = [
        (process, None if process.pid is None else by_pid.get(process.pid)) for process in there
    ]
    known = {worker.id for _, worker in pairs if worker is not None}
    pairs += [(None, worker) for worker in said if worker.id not in known]
    if asked.worker_id is not None:
        pairs = [pair for pair in pairs if _is_called(pair, asked.worker_id)]
        if not pairs:
            last = await workers.last_of(call.tx, asked.worker_id)
            if last is None:
                raise NotFound(f"there is no worker {asked.worker_id}")
            pairs = [(None, last)]
    now = datetime.now(UTC)
    return WorkersHealth(workers=[_health(*pair, now) for pair in pairs], supervisor=charge is not None)


def _is_called(pair: tuple[Process | None, OnDuty | None], which: str) -> bool:
    process, worker = pair
    return (process is not None and process.name == which) or (worker is not None and which in (worker.id, worker.name))


def _health(process: Process | None, worker: OnDuty | None, now: datetime) -> WorkerHealth:
    began = process.since if process is not None else None if worker is None else worker.started_at
    cpu = None if process is None or process.cpu is None else round(100 * process.cpu, 1)
    memory = None if process is None or process.rss is None else round(process.rss / MB, 1)
    return WorkerHealth(
        worker_id=_called(process, worker),
        id=None if worker is None else worker.id,
        hostname=None if worker is None else worker.hostname,
        pid=process.pid if process is not None else None if worker is None else worker.pid,
        alive=worker is not None and worker.alive,
        state=None if worker is None else worker.state,
        supervised=process is not None,
        process_state=None if process is None else process.state,
        heartbeat_age_s=None if worker is None else age_s(worker.heartbeat_at, now),
        uptime_s=None if began is None else age_s(began, now),
        cpu_percent=cpu if process is not None or worker is None else worker.cpu_percent,
        memory_mb=memory if process is not None or worker is None else worker.memory_mb,
        restarts=None if process is None else process.restarts,
        current_jobs=[] if worker is None else worker.current_jobs,
        jobs_completed=None if worker is None else worker.jobs_completed,
        jobs_failed=None if worker is None else worker.jobs_failed,
        settings={} if worker is None else worker.settings,
    )


def _called(process: Process | None, worker: OnDuty | None) -> str:
    if process is not None:
        return process.name
    assert worker is not None
    return worker.called


class WorkerViewLogsInput(Payload, frozen=True, kw_only=True):
    """Whose lines, and how many."""

    worker_id: WorkerId
    lines: Annotated[int, Meta(ge=1, le=1000)] = 100
    """The newest ones."""


class WorkerLogs(Row, frozen=True):
    """What a worker wrote, the newest first."""

    entries: list[LogLine]
    truncated: bool
    """Whether there is more."""


@action("worker.view_logs", View.AGENTS_WORKERS, natural=True, target="worker_id")
async def worker_view_logs(call: Call[WorkerLogs], asked: WorkerViewLogsInput) -> WorkerLogs:
    """Read what a worker wrote; under the name that its supervisor gave it, also what its predecessors did.

    Raises:
        NotFound: there is no such worker, and nothing that it wrote.
    """
    said = await workers.last_of(call.tx, asked.worker_id)
    source = asked.worker_id if said is None else said.source
    found = await logs.stretch(call.tx, logs.Filter(source=source), most=asked.lines + 1)
    if said is None and not found:
        raise NotFound(f"there is no worker {asked.worker_id}")
    return WorkerLogs(found[: asked.lines], len(found) > asked.lines)


class WorkerConfigureInput(Payload, frozen=True, kw_only=True):
    """Which worker, and what is to be otherwise; what is left out stays as it is."""

    worker_id: WorkerId | None = None
    """Left out, all that serve no profile."""

    max_jobs: Concurrency | None = None
    """Jobs at once."""

    job_timeout: Annotated[int, Meta(ge=10, le=3600)] | None = None
    """Seconds one job may be at work."""

    queues: Queues | None = None
    """From which jobs are taken."""


class WorkersConfigured(Row, frozen=True, kw_only=True):
    """What the workers were told."""

    applied: dict[str, Any]
    """What every one of them works with by now."""

    requires_restart: list[str]
    """What at least one has not taken over, so that it holds only from its next start on."""

    workers: list[str]
    kept: bool
    """Whether it outlasts their restart; only a supervisor keeps it."""


@action("worker.configure", View.AGENTS_WORKERS, depends_on=Dependency.WORKERS, target="worker_id")
async def worker_configure(call: Call[WorkersConfigured], asked: WorkerConfigureInput) -> WorkersConfigured:
    """Have workers do more or fewer jobs at once, give them more or less time, or take them from other queues.

    Raises:
        NotFound: there is no such worker.
        NotControllable: no worker is heard of.
        BadInput: there is no such queue, or nothing is to be changed.
    """
    given = {"max_jobs": asked.max_jobs, "job_timeout": asked.job_timeout, "queues": asked.queues}
    settings = {name: value for name, value in given.items() if value is not None}
    if not settings:
        raise BadInput("say at least one thing that is to be changed")
    if asked.queues is not None:
        settings["queues"] = await known_queues(call, asked.queues)
    present = {one.name: one for one in await services.of_service(call.tx, Service.WORKERS)}
    meant = await _meant(call, asked.worker_id)
    if asked.worker_id is None:
        meant = [one for one in meant if one.name not in present or present[one.name].profile is None]
    await workers.ask(call.tx, [one.id for one in meant], settings)
    own = [one.name for one in meant if one.name is not None and one.name in present]
    await services.set_to(call.tx, own, settings)
    call.afterwards(partial(_configured, call.services, [one.id for one in meant], settings))
    return WorkersConfigured(
        applied={},
        requires_restart=list(settings),
        workers=[one.called for one in meant],
        kept=len(own) == len(meant),
    )


async def _configured(
    services: Services, ids: list[str], settings: dict[str, Any], configured: WorkersConfigured
) -> WorkersConfigured:
    def obeys(worker: OnDuty) -> bool:
        return all(worker.settings.get(name) == value for name, value in settings.items())

    seen = await _obeyed(services, ids, obeys)
    applied = {name: value for name, value in settings.items() if all(one.settings.get(name) == value for one in seen)}
    return replace(configured, applied=applied, requires_restart=[name for name in settings if name not in applied])


class WorkerPauseInput(Payload, frozen=True, kw_only=True):
    """Which worker to pause, and how."""

    worker_id: WorkerId | None = None
    """Left out, all of them."""

    finish_current: bool = True
    """What it holds is finished; otherwise it is put back for others."""


class WorkersPaused(Row, frozen=True, kw_only=True):
    """The workers that take no jobs now; they stay alive."""

    paused: list[str]
    """Those that have said so."""

    total: int
    """How many were asked to."""


@action("worker.pause", View.EXTRA, depends_on=Dependency.WORKERS, target="worker_id")
async def worker_pause(call: Call[WorkersPaused], asked: WorkerPauseInput) -> WorkersPaused:
    """Have a worker, or all of them, take no more jobs until it is resumed or restarted.

    Raises:
        NotFound: there is no such worker.
        NotControllable: no worker is heard of.
    """
    meant = await _meant(call, asked.worker_id)
    ids = [one.id for one in meant]
    await workers.ask(call.tx, ids, {"finish_current": asked.finish_current})
    await workers.desire(call.tx, ids, WorkerState.PAUSED)
    call.afterwards(partial(_paused, call.services, ids))
    return WorkersPaused(paused=[], total=len(ids))


async def _paused(services: Services, ids: list[str], paused: WorkersPaused) -> WorkersPaused:
    seen = await _obeyed(services, ids, lambda worker: worker.state is WorkerState.PAUSED)
    return replace(paused, paused=[one.called for one in seen if one.state is WorkerState.PAUSED])


class WorkerResumeInput(Payload, frozen=True, kw_only=True):
    """Which worker to resume."""

    worker_id: WorkerId | None = None
    """Left out, all of them."""


class WorkersResumed(Row, frozen=True, kw_only=True):
    """The workers that take jobs again."""

    resumed: list[str]
    """Those that have said so."""

    total: int
    """How many were asked to."""


@action("worker.resume", View.EXTRA, depends_on=Dependency.WORKERS, target="worker_id")
async def worker_resume(call: Call[WorkersResumed], asked: WorkerResumeInput) -> WorkersResumed:
    """Have a worker, or all of them, take jobs again.

    Raises:
        NotFound: there is no such worker.
        NotControllable: no worker is heard of.
    """
    meant = await _meant(call, asked.worker_id)
    ids = [one.id for one in meant]
    await workers.desire(call.tx, ids, WorkerState.ACTIVE)
    call.afterwards(partial(_resumed, call.services, ids))
    return WorkersResumed(resumed=[], total=len(ids))


async def _resumed(services: Services, ids: list[str], resumed: WorkersResumed) -> WorkersResumed:
    seen = await _obeyed(services, ids, lambda worker: worker.takes_jobs)
    return replace(resumed, resumed=[one.called for one in seen if one.takes_jobs])


class WorkerUploadFilesInput(Payload, frozen=True, kw_only=True):
    """Which file, and what it is for."""

    upload_id: UploadId
    """A completed upload."""

    target: AssetTarget
    overwrite: bool = False
    """A file of the same name is there already, and this is its next version."""


class WorkerFilesUploaded(Row, frozen=True, kw_only=True):
    """The file as the workers have it; nothing of it is ever run."""

    asset_id: UUID
    version: int
    sha256: str
    path: str
    """Relative to the folder of all files."""


@action("worker.upload_files", View.AGENTS_WORKERS, per_minute=10, target="upload_id")
async def worker_upload_files(call: Call[WorkerFilesUploaded], asked: WorkerUploadFilesInput) -> WorkerFilesUploaded:
    """Keep a completed upload as a version of a file for the workers.

    Raises:
        NotFound: there is no such upload.
        Conflict: it is not complete, or a file of that name is there and is not to be overwritten.
    """
    upload = await uploads.completed(call.tx, asked.upload_id, owner=call.caller.owner_filter)
    present = await assets.newest(call.tx, asked.target, upload.filename)
    if present is not None and not asked.overwrite:
        raise Conflict(
            f"{asked.target} has version {present.version} of {upload.filename}: say overwrite for another one"
        )
    asset = await assets.add(call.tx, asked.target, upload, version=1 if present is None else present.version + 1)
    return WorkerFilesUploaded(asset_id=asset.id, version=asset.version, sha256=asset.sha256, path=asset.path)


async def _meant(call: Call[Any], which: str | None) -> list[OnDuty]:
    found = await workers.on_duty(call.tx, which)
    if not found and which is not None and await workers.last_of(call.tx, which) is None:
        raise NotFound(f"there is no worker {which}")
    if not found:
        raise NotControllable(NOBODY if which is None else f"worker {which} is gone")
    return found


async def _obeyed(services: Services, ids: Collection[str], obeys: Callable[[OnDuty], bool]) -> list[OnDuty]:
    """The workers as they are once all of them obey, or after some seconds."""

    async def look() -> list[OnDuty]:
        async with services.database.system() as tx:
            return [one for one in await workers.on_duty(tx) if one.id in ids]

    return await waiting.until(look, lambda seen: all(map(obeys, seen)), within_s=OBEYED_S)


ACTIONS: Final[tuple[Action[Any, Any], ...]] = (
    worker_health_check,
    worker_view_logs,
    worker_upload_files,
    worker_configure,
    worker_pause,
    worker_resume,
)
