"""The demonstration: a video made from nothing, and a look at what came of it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentos.client import Client, Clip
from workers.failures import StepFailed
from workers.media.probe import facts
from workers.media.sample import write_sample

TITLE: Final = "A day in six scenes"
SECONDS: Final = 24.0
FEWEST_CLIPS: Final = 2
LONGEST_CLIP_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A clip that was fetched and decoded to its last picture."""

    clip: Clip
    frames: int
    """How many pictures were decoded; 0 when it could not be."""

    trouble: str = ""
    """Why it could not be decoded."""


@asynccontextmanager
async def sample() -> AsyncIterator[Path]:
    """A video file for as long as the block lasts; the same pictures and sound every time."""
    with tempfile.TemporaryDirectory(prefix="agentos-demo-") as folder:
        file = Path(folder) / "a-day-in-six-scenes.mp4"
        await asyncio.to_thread(write_sample, str(file), SECONDS)
        yield file


async def seen(client: Client, clip: Clip) -> Seen:
    """Fetch a clip by its link and decode all of it."""
    content = await client.fetched(clip.url)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(content)
        file.flush()
        try:
            found = await asyncio.to_thread(facts, file.name, None, LONGEST_CLIP_S)
        except StepFailed as failed:
            return Seen(clip=clip, frames=0, trouble=str(failed))
    return Seen(clip=clip, frames=found.frames)
