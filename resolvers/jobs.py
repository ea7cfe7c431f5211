"""Jobs: made, cancelled, retried by the people they are for."""

import asyncio
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from db import agents, clearing, configuration, jobs, profiles, queues, tunables
from db.configuration import Configuration
from db.database import Transaction
from db.jobs import DEFAULT_QUEUE, USUAL_TYPE, Job, NewJob
from db.models.work import FailureCode, JobStatus
from db.profiles import Profile
from db.rows import Row
from guards.errors import BadInput, Conflict, NotFound, RateLimited
from resolvers import house, uploads
from resolvers.context import Context
from workers.agents.roster import DEFAULT_CHAIN
from workers.agents.wishes import LONGEST_CLIP_S, SHORTEST_CLIP_S, shape
from workers.turn import MEDIA_SCHEME, SourceMissing, inside

RETRY_FULL_S: Final = 30
LONGEST_TITLE: Final = 200
LONGEST_ADDRESS: Final = 2_000
LONGEST_CHAIN: Final = 30
MOST_CLIPS: Final = 10
PLATFORM: Final = re.compile(r"[a-z][a-z0-9_-]{1,29}")

# They turn the direction of the text around them, so a title could make the words beside it read differently.
_TURNS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Source(Row, frozen=True, kw_only=True):
    """Where the video comes from; exactly one is set."""

    upload_id: UUID | None = None
    """A completed upload of the caller's."""

    url: str | None = None
    """An http or https address."""

    path: str | None = None
    """A file of this server, relative to its media folder."""


class Wishes(Row, frozen=True, kw_only=True):
    """How the clips should be; what is None is left to the agents."""

    aspect: str | None = None
    """Across and down, such as `9:16`, or `source` for the shape of the video."""

    min_seconds: float | None = None
    max_seconds: float | None = None
    max_clips: int | None = None
    """1..10."""

    platforms: Sequence[str] | None = None
    """For which platforms posts are written, such as `tiktok`."""


class Order(Row, frozen=True, kw_only=True):
    """What a job is to be."""

    source: Source
    title: str = ""
    priority: int = 5
    """0 (can wait) to 10 (first)."""

    chain: Sequence[str] | None = None
    """Ids of agents in the order of their turns; None for the usual ones."""

    profile: str | None = None
    """The worker profile whose workers are to do it; None for any worker without one."""

    workflow_type: str = USUAL_TYPE
    """What kind of work it is counted as."""

    wishes: Wishes = Wishes()


class Planned(Row, frozen=True):
    """An order that was found in order, as far as that can be told without the database."""

    title: str
    chain: list[str] | None
    """None for the usual one."""

    options: dict[str, Any]
    address: str | None
    upload_id: UUID | None
    priority: int
    profile: str | None
    workflow_type: str


async def planned(context: Context, order: Order) -> Planned:
    """Look an order through.

    Raises:
        BadInput: something of it is out of range, or names what there is not.
    """
    return Planned(
        title=_title(order.title),
        chain=_chain(order.chain),
        options=_options(order.wishes),
        address=await _address(context, order.source),
        upload_id=order.source.upload_id,
        priority=order.priority,
        profile=order.profile,
        workflow_type=order.workflow_type,
    )


async def create(context: Context, tx: Transaction, plan: Planned) -> Job:
    """Queue a job.

    Raises:
        BadInput: it names an agent or a worker profile that there is not.
        NotFound: the caller has no such upload.
        Conflict: the upload is not complete, or the queue takes no jobs on.
        Maintenance: the system is being worked on.
        RateLimited: too many jobs wait already.
    """
    settings = await configuration.in_force(tx)
    await _require_room(tx, settings)
    profile = await _profile(tx, plan.profile)
    chain = (
        plan.chain
        or (profile and profile.chain)
        or tunables.value(settings, tunables.DEFAULT_CHAIN)
        or list(DEFAULT_CHAIN)
    )
    await _require_agents(tx, chain)
    title = plan.title
    if plan.upload_id is not None:
        # Also of a job that has a title of its own: what it is made of must be the caller's, and stay.
        upload = await uploads.completed(tx, plan.upload_id, owner=context.caller.user_id)
        title = title or Path(upload.filename).stem[:LONGEST_TITLE]
    new = NewJob(
        user_id=context.caller.user_id,
        upload_id=plan.upload_id,
        source_url=plan.address,
        title=title,
        workflow_type=plan.workflow_type,
        options=_with_defaults(plan.options, settings),
        chain=chain,
        queue=DEFAULT_QUEUE if profile is None else profile.name,
        priority=plan.priority,
        max_attempts=tunables.value(settings, tunables.JOB_MAX_ATTEMPTS),
    )
    job = await jobs.add(tx, new)
    _ring(context, tx, job)
    return job


async def cancelled(context: Context, tx: Transaction, job_id: UUID, *, force: bool = False) -> tuple[Job, Job]:
    """Cancel a job that waits, or ask the worker of one that runs to stop; it as it was, and as it is.

    Args:
        force: cancel one that runs at once; its worker finds out within a second and can write nothing more.

    Raises:
        NotFound: there is no such job.
        Conflict: it has finished.
    """
    before = await _there(tx, context, job_id, for_change=True)
    job = await jobs.mark_cancelled(tx, job_id, owner=context.caller.owner_filter, force=force)
    if job is None:
        raise Conflict(f"job {job_id} has already finished")
    _ring(context, tx, job)
    return before, job


async def cancelled_with(context: Context, tx: Transaction, job_id: UUID, *, force: bool) -> list[Job]:
    """Cancel all unfinished jobs that were made of a job, and of those, and so on; the job itself stays as it is."""
    owner = context.caller.owner_filter
    found = await jobs.descendants(tx, job_id, owner=owner)
    ended = [await jobs.mark_cancelled(tx, each.id, owner=owner, force=force) for each in found]
    return [job for job in ended if job is not None]


async def retried(
    context: Context, tx: Transaction, job_id: UUID, *, priority: int | None = None, max_retries: int | None = None
) -> tuple[Job, Job]:
    """Queue a failed or cancelled job again; it as it was, and as it is.

    Args:
        max_retries: how often people may ask for it again, this time included; None for as often as they like.

    Raises:
        NotFound: there is no such job.
        Conflict: it waits, runs or is completed, was asked for too often, its upload is gone, or the queue takes no
            jobs on.
        Maintenance: the system is being worked on.
        RateLimited: too many jobs wait already.
    """
    await _there(tx, context, job_id)
    await _require_room(tx, await configuration.in_force(tx))
    # Only now: whoever holds places in the queue waits for nobody who holds a job.
    before = await _there(tx, context, job_id, for_change=True)
    if max_retries is not None and before.retry_count >= max_retries:
        times = "once" if before.retry_count == 1 else f"{before.retry_count} times"
        raise Conflict(f"job {job_id} was retried {times} already, and {max_retries} is the most")
    job = await jobs.mark_retried(tx, job_id, owner=context.caller.owner_filter, priority=priority)
    if job is None:
        raise Conflict(f"job {job_id} is {before.status} already: only a failed or cancelled job can be retried")
    if not await _with_source(tx, [job]):
        raise Conflict(f"job {job_id} cannot be retried: the upload it was made from is gone")
    _ring(context, tx, job)
    return before, job


async def retried_since(
    context: Context, tx: Transaction, since: datetime | None, *, most: int, dry_run: bool
) -> tuple[list[UUID], list[Job]]:
    """Queue failed jobs again, those first that failed first: which were looked at, and which were queued.

    Jobs whose upload is gone are passed over.

    Args:
        since: only those that failed then or later; None for all.
        dry_run: queue none; the second list is empty.

    Raises:
        Conflict: the queue takes no jobs on.
        Maintenance: the system is being worked on.
    """
    if dry_run:
        return await clearing.failed_since(tx, since, most=most), []
    most_queued = tunables.value(await configuration.in_force(tx), tunables.MAX_QUEUED_JOBS)
    free = await _places(tx, most_queued)
    found = await clearing.failed_since(tx, since, most=most)
    # Looked at once more: an upload may have been given up since.
    sound = {job.id for job in await _with_source(tx, await jobs.by_ids(tx, found))}
    found = [job_id for job_id in found if job_id in sound]
    queued = [await jobs.mark_retried(tx, job_id) for job_id in found[:free]]
    again = [job for job in queued if job is not None]
    for job in again:
        _ring(context, tx, job)
    return found, again


async def declared(context: Context, tx: Transaction, job_id: UUID, *, message: str) -> tuple[Job, Job]:
    """Mark a job as failed because somebody says so; it as it was, and as it is.

    Raises:
        NotFound: there is no such job.
        Conflict: it has finished.
    """
    before = await _there(tx, context, job_id, for_change=True)
    owner = context.caller.owner_filter
    job = await jobs.mark_failed(tx, job_id, code=FailureCode.DECLARED, message=message, owner=owner)
    if job is None:
        raise Conflict(f"job {job_id} has already finished")
    _ring(context, tx, job)
    return before, job


async def progressed(context: Context, tx: Transaction, job_id: UUID, percent: int | None) -> tuple[Job, Job]:
    """Say that a job runs, and how far it is; it as it was, and as it is.

    Args:
        percent: None to leave it where it is.

    Raises:
        NotFound: there is no such job.
        Conflict: it does not run, or is farther already.
    """
    before = await _there(tx, context, job_id, for_change=True)
    if before.status is not JobStatus.PROCESSING:
        raise Conflict(f"job {job_id} is {before.status}: only a worker can begin it")
    if percent is None:
        return before, before
    job = await jobs.mark_progress(tx, job_id, percent, owner=context.caller.owner_filter)
    if job is None:
        raise Conflict(f"job {job_id} is at {before.progress} percent already")
    return before, job


async def completed(context: Context, tx: Transaction, job_id: UUID) -> tuple[Job, Job]:
    """Say that a job is completed, which nobody can but its worker.

    Raises:
        NotFound: there is no such job.
        Conflict: always.
    """
    before = await _there(tx, context, job_id)
    raise Conflict(f"job {job_id} is {before.status}: only its worker can complete it")


async def urgent(context: Context, tx: Transaction, job_id: UUID, *, priority: int) -> tuple[Job, Job]:
    """Give a queued job another place in the order of turns; it as it was, and as it is.

    Raises:
        NotFound: there is no such job.
        Conflict: it runs or has finished.
    """
    before = await _there(tx, context, job_id, for_change=True)
    job = await jobs.mark_urgent(tx, job_id, priority=priority, owner=context.caller.owner_filter)
    if job is None:
        raise Conflict(f"job {job_id} is {before.status}: only a queued job has a turn to come")
    _ring(context, tx, job)
    return before, job


async def _there(tx: Transaction, context: Context, job_id: UUID, *, for_change: bool = False) -> Job:
    find = jobs.for_change if for_change else jobs.by_id
    job = await find(tx, job_id, owner=context.caller.owner_filter)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


async def _require_room(tx: Transaction, settings: Configuration | None) -> None:
    most: int = tunables.value(settings, tunables.MAX_QUEUED_JOBS)
    if await _places(tx, most) <= 0:
        raise RateLimited(f"the queue is full: {most} jobs are waiting", retry_after=RETRY_FULL_S)


async def _places(tx: Transaction, most: int) -> int:
    """How many jobs more may wait; nobody else adds one until this transaction ends."""
    waiting = await queues.waiting(tx, most=most)
    # After the count, which has waited for whoever decides to drain the queue.
    await require_taken(tx)
    return most - waiting


async def require_taken(tx: Transaction) -> None:
    """Make sure that new work is taken on.

    Raises:
        Maintenance: the system is being worked on.
        Conflict: the queue turns new work away, such as after an emergency stop.
    """
    await house.require_open(tx)
    state = await queues.state(tx)
    if state is not None and state.refusing:
        raise Conflict(f"the queue takes no jobs on just now{f': {state.reason}' if state.reason else ''}")


async def _profile(tx: Transaction, name: str | None) -> Profile | None:
    if name is None:
        return None
    found = await profiles.by_name(tx, name)
    if found is None:
        raise BadInput(f"profile: there is no worker profile {name[:50]}")
    return found


async def _require_agents(tx: Transaction, chain: Sequence[str]) -> None:
    known = {agent.id for agent in await agents.by_ids(tx, chain)}
    if unknown := [agent_id for agent_id in chain if agent_id not in known]:
        raise BadInput(f"chain: there is no agent {', '.join(unknown)}")


async def _with_source(tx: Transaction, found: Sequence[Job]) -> list[Job]:
    """Those of them whose video is still there; no upload of theirs is given up until this transaction ends."""
    there = await uploads.there(tx, {job.upload_id for job in found if job.upload_id is not None})
    return [job for job in found if job.source_url is not None or job.upload_id in there]


def _ring(context: Context, tx: Transaction, job: Job) -> None:
    tx.after_commit(partial(context.services.doorbell.ring, job.id))


def _title(text: str) -> str:
    title = " ".join(unicodedata.normalize("NFC", text).split())
    if len(title) > LONGEST_TITLE:
        raise BadInput(f"title: at most {LONGEST_TITLE} characters are taken")
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Co", "Cn"} or letter in _TURNS for letter in title):
        raise BadInput("title: plain text is taken, without control characters")
    return title


def _chain(asked: Sequence[str] | None) -> list[str] | None:
    if asked is None:
        return None
    chain = list(asked)
    if not 1 <= len(chain) <= LONGEST_CHAIN:
        raise BadInput(f"chain: 1 to {LONGEST_CHAIN} agents are taken, not {len(chain)}")
    if len(set(chain)) < len(chain):
        raise BadInput("chain: an agent can have only one turn")
    return chain


def _options(wishes: Wishes) -> dict[str, Any]:
    """The wishes under the names by which agents know them."""
    least, most = wishes.min_seconds, wishes.max_seconds
    for name, seconds in (("min_seconds", least), ("max_seconds", most)):
        if seconds is not None and not SHORTEST_CLIP_S <= seconds <= LONGEST_CLIP_S:
            raise BadInput(f"{name}: {SHORTEST_CLIP_S} to {LONGEST_CLIP_S} is taken, not {seconds:g}")
    if least is not None and most is not None and least > most:
        raise BadInput("min_seconds: may not be more than max_seconds")
    if wishes.max_clips is not None and not 1 <= wishes.max_clips <= MOST_CLIPS:
        raise BadInput(f"max_clips: 1 to {MOST_CLIPS} is taken, not {wishes.max_clips}")
    platforms = wishes.platforms
    if platforms is not None and (len(platforms) > 10 or not all(map(PLATFORM.fullmatch, platforms))):
        raise BadInput("platforms: at most ten names like `tiktok` are taken")
    named = {
        "aspect": None if wishes.aspect is None else _aspect(wishes.aspect),
        "min_s": least,
        "max_s": most,
        "max_clips": wishes.max_clips,
        "platforms": None if platforms is None else list(platforms),
    }
    return {name: value for name, value in named.items() if value is not None}


_WISHED: Final = {
    "aspect": tunables.DEFAULT_ASPECT,
    "min_s": tunables.DEFAULT_MIN_SECONDS,
    "max_s": tunables.DEFAULT_MAX_SECONDS,
    "max_clips": tunables.DEFAULT_MAX_CLIPS,
    "platforms": tunables.DEFAULT_PLATFORMS,
}
"""What stands for a wish that a job has not."""


def _with_defaults(wished: dict[str, Any], settings: Configuration | None) -> dict[str, Any]:
    """The wishes with those that the configuration adds."""
    usual = {name: tunables.value(settings, tunable) for name, tunable in _WISHED.items()}
    options = {name: value for name, value in usual.items() if value is not None} | wished
    # A wish must not be made impossible by what was never wished.
    if options.get("min_s", 0) > options.get("max_s", LONGEST_CLIP_S):
        options.pop("max_s" if "min_s" in wished else "min_s")
    return options


def _aspect(text: str) -> str:
    try:
        shape(text)
    except ValueError as error:
        raise BadInput("aspect: a shape like `9:16` between 1:4 and 4:1 is taken, or `source`") from error
    return text


async def _address(context: Context, source: Source) -> str | None:
    if [source.upload_id, source.url, source.path].count(None) != 2:
        raise BadInput("source: name an upload, a url or a path, and only one of them")
    if source.path is not None:
        return await asyncio.to_thread(_of_this_server, context.services.media_root, source.path)
    return None if source.url is None else _checked(source.url)


def _of_this_server(media_root: Path | None, path: str) -> str:
    try:
        found = inside(media_root, path)
    except SourceMissing as error:
        raise BadInput(f"path: {error}") from error
    assert media_root is not None
    return MEDIA_SCHEME + found.relative_to(media_root.resolve()).as_posix()


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
        _ = parts.port
    except ValueError:
        sound = False
    if not sound or len(url) > LONGEST_ADDRESS or not url.isprintable() or " " in url:
        raise BadInput("url: an http or https address without a user name is taken")
    return url
