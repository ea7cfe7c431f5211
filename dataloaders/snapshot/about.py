"""What a process knows of the AgentOS it belongs to; told at its start, shown in the snapshot."""

from datetime import datetime
from pathlib import Path

import msgspec


class OfferedAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action of the catalogue, as the console's control view lists it."""

    id: str
    name: str
    category: str
    dangerous: bool


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Plain facts from the settings; none of them is a secret."""

    version: str
    started_at: datetime
    """UTC, when this AgentOS was started (its supervisor, where there is one)."""

    data_dir: Path
    """Where files lie; its disk is the one that is measured."""

    host: str
    port: int
    """Where the API listens; 0 where nothing listens, and then its status is not known."""

    ws_port: int
    """Where the legacy WebSocket listens; 0 where nothing does."""

    environment: str | None = None
    """What this installation is called, such as `production`."""

    workers: int | None = None
    """Worker processes that are meant to run."""

    worker_concurrency: int | None = None
    """Jobs one worker process runs at once."""

    log_level: str | None = None
    log_format: str | None = None
    largest_file_mb: int | None = None
    """MB one uploaded file may have."""

    cors_enabled: bool | None = None
    actions: tuple[OfferedAction, ...] = ()
    """The catalogue's actions."""
