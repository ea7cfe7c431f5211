"""Commands about jobs, over the API like any other client: submit, list, show, cancel, and the demonstration."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from agentos.cli.places import client_of, settings_with
from agentos.cli.printing import AsJson, Failed, say, show_json, show_links, show_table, shown

if TYPE_CHECKING:
    from agentos.client import Client, Job


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Via:
    """Which API, and as whom."""

    url: str | None = None
    """Where the API answers; default that of the AgentOS running in the data directory."""

    token: str | None = None
    """An access token; default one made with the keys of this installation."""

    user: str | None = None
    """Id or email address of who asks; default `admin@localhost`, else the first administrator."""

    tenant: str = "default"
    """Where they belong."""


HERE: Final = Via()


async def submit(
    source: str,
    /,
    *,
    title: str = "",
    watch: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
    via: Via = HERE,
) -> int:
    """Upload a file, or name a URL, and queue a job for it; print the job's id.

    Args:
        source: A video file, or an http(s) address.
        title: What it is called; default the file's name.
        watch: Stay until it has ended; fail when it did not complete.
        as_json: Print JSON.
    """
    async with _client(via) as client:
        if source.startswith(("http://", "https://")):
            job = await client.submit({"url": source}, title)
        else:
            file = Path(source)
            if not file.is_file():
                raise Failed(f"there is no file {source}", "Name a video file or an http(s) address.")
            job = await client.submit({"uploadId": await _uploaded(client, file)}, title)
        if not as_json:
            say(job.id)
        if watch:
            job = await _watched(client, job)
        if as_json:
            show_json(_plain(job))
        elif watch:
            _show_end(job)
    return int(watch and job.status.lower() != "completed")


async def list_jobs(
    *, most: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 20, as_json: AsJson = False, via: Via = HERE
) -> None:
    """List jobs, the newest first.

    Args:
        most: How many, at most 100.
        as_json: Print JSON.
    """
    async with _client(via) as client:
        found = await client.jobs(most)
    rows = [(job.id, job.status.lower(), f"{job.progress} %", job.created_at, job.called) for job in found]
    shown([_plain(job) for job in found], as_json, ("id", "status", "done", "created", "title"), rows)


async def show(job_id: str, /, *, as_json: AsJson = False, via: Via = HERE) -> None:
    """Show a job with its steps and clips.

    Args:
        job_id: Its id; `job list` shows them.
        as_json: Print JSON.
    """
    async with _client(via) as client:
        job = await client.job(job_id)
    if job is None:
        raise Failed(f"there is no job {job_id}", "`python -m agentos job list` shows the newest.")
    if as_json:
        show_json(_plain(job))
        return
    say(f"{job.called}: {job.status.lower()}, {job.progress} %")
    steps = [
        (step.agent_id, step.status.lower(), step.duration_s and f"{step.duration_s:.1f} s", step.message)
        for step in job.steps
    ]
    show_table(("agent", "status", "took", "message"), steps)
    _show_end(job)


async def cancel(job_id: str, /, *, as_json: AsJson = False, via: Via = HERE) -> None:
    """Cancel a job that waits, or have one that runs stop.

    Args:
        job_id: Its id.
        as_json: Print JSON.
    """
    async with _client(via) as client:
        job = await client.cancel(job_id)
    if as_json:
        show_json(_plain(job))
    else:
        say(f"{job.called or job.id}: {'cancelled' if job.ended else 'its worker was asked to stop'}")


async def demo(*, first: Annotated[bool, Parameter(negative="", show=False)] = False, via: Via = HERE) -> int:
    """Draw a video, upload it, follow it through the agents, and look at every clip that comes of it.

    Fails when fewer than two clips can be decoded. Needs a running AgentOS: `python -m agentos up`.

    Args:
        first: Only where there are no jobs yet: seed a little history, send the video, and do not wait.
    """
    from agentos import demo as demonstration

    async with _client(via) as client:
        if first:
            if not await client.jobs(1):
                await _begin(client, via.tenant)
            return 0
        say("drawing a video")
        async with demonstration.sample() as file:
            say(f"uploading {file.stat().st_size // 1000} kB")
            upload_id = await _uploaded(client, file)
        job = await client.submit({"uploadId": upload_id}, demonstration.TITLE)
        say(f"job {job.id}")
        job = await _watched(client, job)
        if job.status.lower() != "completed":
            _show_end(job)
            return 1
        seen = [await demonstration.seen(client, clip) for clip in job.clips]
    rows = [
        (
            look.clip.title,
            f"{look.clip.duration_s:.1f} s",
            f"{look.clip.score:.0f}",
            f"{look.frames} pictures" if look.frames else look.trouble,
        )
        for look in seen
    ]
    show_table(("clip", "length", "score", "decoded"), rows)
    show_links(look.clip.url for look in seen)
    good = sum(look.frames > 0 for look in seen)
    if good < demonstration.FEWEST_CLIPS:
        raise Failed(f"{good} clips can be decoded, {demonstration.FEWEST_CLIPS} were to come of this video")
    return 0


async def _begin(client: "Client", tenant: str) -> None:
    """Give an empty system a past and something to do."""
    from agentos import demo as demonstration
    from agentos.cli.history import seed

    await seed(tenant=tenant)
    async with demonstration.sample() as file:
        upload_id = await client.upload(file)
    job = await client.submit({"uploadId": upload_id}, demonstration.TITLE)
    say(f"a generated video is on its way through the agents as job {job.id}")


@asynccontextmanager
async def _client(via: Via) -> AsyncIterator["Client"]:
    async with client_of(settings_with(), url=via.url, token=via.token, user=via.user, tenant=via.tenant) as client:
        yield client


async def _uploaded(client: "Client", file: Path) -> str:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    screen = Console(stderr=True)
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=file.stat().st_size)
        return await client.upload(file, lambda there: bar.update(task, completed=there))


async def _watched(client: "Client", begun: "Job") -> "Job":
    """Follow a job to its end: a bar for each agent on a terminal, a line for each change elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    screen = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bars:
        tasks = {step.agent_id: bars.add_task(step.agent_id, total=1.0, start=False) for step in begun.steps}
        job = begun
        told: dict[str, str] = {}
        async for job in client.follow(begun.id):
            for step in job.steps:
                status = step.status.lower()
                if status != "pending":
                    bars.start_task(tasks[step.agent_id])
                done = 1.0 if status in ("completed", "skipped") else step.progress
                bars.update(tasks[step.agent_id], completed=done, description=_described(step.agent_id, status))
                if status in ("completed", "skipped", "failed") and told.get(step.agent_id) != status:
                    told[step.agent_id] = status
                    bars.stop_task(tasks[step.agent_id])
                    if not screen.is_terminal:
                        say(f"  {step.agent_id}: {status}" + (f", {step.message}" if step.message else ""))
    return job


def _described(agent_id: str, status: str) -> str:
    return f"{agent_id} ({status})" if status in ("skipped", "failed", "cancelled") else agent_id


def _show_end(job: "Job") -> None:
    if job.error_message and job.ended:
        say(f"{job.status.lower()}: {job.error_message}")
    if job.clips:
        rows = [(clip.title, f"{clip.duration_s:.1f} s", f"{clip.score:.0f}") for clip in job.clips]
        show_table(("clip", "length", "score"), rows)
        show_links(clip.url for clip in job.clips)


def _plain(job: "Job") -> Any:
    import msgspec

    return msgspec.to_builtins(job)


job = App(name="job", help="Jobs, over the API.")
job.command(submit, name="submit")
job.command(list_jobs, name="list")
job.command(show, name="show")
job.command(cancel, name="cancel")

commands: Final[dict[str, Callable[..., Any]]] = {"job": job, "demo": demo}
