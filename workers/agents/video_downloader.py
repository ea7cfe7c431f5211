"""Brings a job's video in and says what it really is.

A file of this server stays where it is. An address is fetched here and nowhere else: each hop is resolved once, the
address found is checked, and exactly that address is connected to.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from workers.agents import fetching, roster, wishes, words
from workers.agents.contract import Agent, Output, Step, Tools
from workers.failures import StepFailed
from workers.media import probe
from workers.media.probe import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where the video is, and how much of it may come in."""

    file: Path | None
    url: str | None
    sha256: str | None
    title: str
    most_bytes: int
    max_s: float
    """Longest video taken, in seconds."""

    private_allowed: bool
    """Whether addresses of this network may be fetched from."""

    @classmethod
    def of(cls, step: Step, tools: Tools) -> "Input":
        source = step.source
        if (source.file is None) == (source.url is None):
            raise StepFailed("a job has either a file or an address")
        return cls(
            file=source.file,
            url=source.url,
            sha256=source.sha256,
            title=source.title,
            most_bytes=int(wishes.configured(tools, "max_mb", default=100, at_least=1, at_most=100_000) * 1_000_000),
            max_s=wishes.configured(tools, "max_duration_s", default=7200, at_least=1, at_most=86_400),
            private_allowed=tools.config.get("allow_private") is True,
        )


class Download(Output, frozen=True, kw_only=True):
    """The video, ready to be worked on."""

    agent: ClassVar[str] = roster.VIDEO_DOWNLOADER.id

    path: str
    """Absolute; read by later steps of the same job."""

    title: str
    """As given, else from the file's name."""

    facts: Facts


async def run(step: Step, tools: Tools) -> Download:
    """Bring the video in, if it is not here yet, and measure it."""
    asked = Input.of(step, tools)
    if asked.file is not None:
        path, name = asked.file.resolve(), asked.file.name
    else:
        path, name = await _fetched(asked, tools)
    facts = await tools.compute(probe.facts, str(path), asked.sha256, asked.max_s)
    return Download(path=str(path), title=words.title(asked.title, name), facts=facts)


async def _fetched(asked: Input, tools: Tools) -> tuple[Path, str]:
    assert asked.url is not None
    target = tools.folder / "source"
    limits = fetching.Limits(most_bytes=asked.most_bytes, private_allowed=asked.private_allowed)
    await fetching.fetch(asked.url, target, limits, page=tools.compute, on_progress=tools.progress)
    return target, unquote(urlsplit(asked.url).path.rsplit("/", 1)[-1])


AGENT = Agent(known=roster.VIDEO_DOWNLOADER, output=Download, run=run)
