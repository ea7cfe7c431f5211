"""Taking what a job's agents made into the store: clips with their thumbnails, and the other files worth keeping."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from db.artifacts import NewArtifact
from db.clips import NewClip
from db.files import FileKind, Files
from workers.agents.contract import MadeClip, MadeFile


class Harvest(msgspec.Struct, frozen=True):
    """What is in the store now and belongs to a job once it completes."""

    clips: list[NewClip]
    artifacts: list[NewArtifact]


class _Made(msgspec.Struct, frozen=True):
    """The part of any agent's output that says what it made."""

    clips: tuple[MadeClip, ...] = ()
    files: tuple[MadeFile, ...] = ()


async def harvest(files: Files, tenant: str, results: Mapping[str, bytes], folders: Mapping[str, Path]) -> Harvest:
    """Adopt everything the outputs of a job name.

    Args:
        results: the outputs as JSON, by agent id, in the order of the chain.
        folders: where each agent wrote.
    """
    clips: list[NewClip] = []
    artifacts: list[NewArtifact] = []
    for agent_id, output in results.items():
        made = msgspec.json.decode(output, type=_Made)
        clips += [await _clip(files, tenant, folders[agent_id], clip) for clip in made.clips]
        artifacts += [await _artifact(files, tenant, folders[agent_id], file) for file in made.files]
    return Harvest(clips, artifacts)


async def _clip(files: Files, tenant: str, folder: Path, made: MadeClip) -> NewClip:
    video = await files.adopt(folder / made.path, tenant, FileKind.CLIPS)
    picture = await files.adopt(folder / made.thumbnail, tenant, FileKind.THUMBNAILS) if made.thumbnail else None
    return NewClip(
        title=made.title,
        path=video.path,
        thumbnail_path=picture.path if picture else None,
        start_s=made.start_s,
        end_s=made.end_s,
        duration_s=made.duration_s,
        width=made.width,
        height=made.height,
        size_bytes=video.size_bytes,
        sha256=video.sha256,
        score=made.score,
        reasons=[{"reason": part.reason, "points": part.points} for part in made.reasons],
    )


async def _artifact(files: Files, tenant: str, folder: Path, made: MadeFile) -> NewArtifact:
    stored = await files.adopt(folder / made.path, tenant, FileKind.ARTIFACTS)
    return NewArtifact(
        kind=made.kind,
        name=Path(made.path).name,
        path=stored.path,
        media_type=made.media_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
    )
