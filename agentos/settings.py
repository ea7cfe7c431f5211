"""Every setting, read from the environment once and passed down; nothing else in the house looks at the environment."""

import os
import re
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agentos.ports import in_url
from guards.networks import LOOPBACK, Confinement, Network
from guards.permissions import Permission

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "pretty"]

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?")


class Settings(BaseSettings):
    """How this AgentOS is to run. Each is an environment variable with the prefix `AGENTOS_`."""

    model_config = SettingsConfigDict(env_prefix="AGENTOS_", env_file=".env", extra="ignore", frozen=True)

    database_url: str | None = Field(
        default=None, description="PostgreSQL (15 or newer) as a URL; absent: an embedded one under the data directory."
    )
    redis_url: str | None = Field(
        default=None, description="Redis or Valkey as a URL; absent: an embedded one under the data directory."
    )
    data_dir: Path = Field(
        default=Path(".agentos"), description="Where embedded stores, files, keys and logs are kept."
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8001, ge=0, le=65535, description="Port the API listens on.")
    ws_port: int = Field(
        default=8765, ge=0, le=65535, description="Port that the process of the legacy WebSocket listens on."
    )
    workers: int = Field(default=1, ge=0, le=64, description="Worker processes that `up` starts.")
    worker_concurrency: int = Field(default=1, ge=1, le=16, description="Jobs one worker process runs at once.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins a browser may call from, comma-separated."
    )
    admin_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=LOOPBACK,
        description="Networks (CIDR, comma-separated) from which admin reads are served.",
    )
    action_allow: Annotated[tuple[Confinement, ...], NoDecode] = Field(
        default=(),
        description="Networks from which alone single actions may be used, beside ADMIN_ALLOW: "
        "`system.*=10.0.0.0/8;database.restore_backup=127.0.0.1/32,::1/128`.",
    )
    replicas: int = Field(
        default=1, ge=1, le=1000, description="API processes that share the rate limits while Redis does not answer."
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(), description="Networks of proxies whose X-Forwarded-For is believed, comma-separated."
    )
    connections: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Connections one API process holds open at once, WebSockets included.",
    )
    connections_per_address: int = Field(
        default=500, ge=1, le=100_000, description="How many of them one client has, unless it is a trusted proxy."
    )
    jwt_keys: SecretStr | None = Field(
        default=None,
        description="Signing keys as `agentos` writes them to keys.json; absent: that file in the data directory.",
    )
    audit_keys: SecretStr | None = Field(
        default=None,
        description="Keys of the audit trail, written as those of the tokens; absent: a file in the data directory.",
    )
    jwt_issuer: str = Field(default="agentos", description="The `iss` of our tokens.")
    log_level: Level = Field(default="info", description="Least severe level written.")
    log_format: Format = Field(default="auto", description="auto: pretty on a terminal, else JSON.")
    speech_model: Path | None = Field(
        default=None, description="Folder of a faster-whisper model; absent: voice activity only."
    )
    media_root: Path | None = Field(default=None, description="Folder from which a job may take files of this server.")
    fetch_private: bool = Field(
        default=False, description="Whether a job's URL may lead to a private or loopback address."
    )
    upload_quota_mb: int = Field(default=2_000, ge=1, description="MB of uploads one user may hold at once.")
    started_at: datetime | None = Field(
        default=None,
        description="When this AgentOS was started; `up` sets it for its processes, so that all show one uptime.",
    )
    public_url: str | None = Field(
        default=None, description="How clients reach the API, for links; absent: http://HOST:PORT."
    )

    @field_validator("cors_origins", "admin_allow", "trusted_proxies", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _exact(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        # A browser's origin is compared letter by letter: one that is written otherwise would never be let in.
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: write it as https://console.example or http://localhost:3000"
                )
        return origins

    @field_validator("action_allow", mode="before")
    @classmethod
    def _confining(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        rules = [rule.partition("=") for rule in value.split(";") if rule.strip()]
        return [_confinement(pattern.strip(), cls._listed(networks)) for pattern, _, networks in rules]

    @cached_property
    def files_dir(self) -> Path:
        """Where uploads, clips and artifacts lie."""
        return self.data_dir.resolve() / "files"

    @cached_property
    def keys_file(self) -> Path:
        """Where the signing keys lie when the environment does not bring them."""
        return self.data_dir.resolve() / "keys.json"

    @cached_property
    def audit_dir(self) -> Path:
        """Where the audit trail's keys and anchors lie."""
        return self.data_dir.resolve() / "audit"

    @cached_property
    def base_url(self) -> str:
        """The start of every link, without a slash at the end."""
        return (self.public_url or f"http://{in_url(self.host)}:{self.port}").rstrip("/")

    @cached_property
    def origin(self) -> str:
        """What a browser calls the pages of this API."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}".lower()


def _confinement(pattern: str, networks: object) -> dict[str, object]:
    # A rule with a typing error would leave open what it was written for.
    if not any(fnmatchcase(permission, pattern) for permission in Permission):
        raise ValueError(f"no action is called {pattern!r}")
    if not networks:
        raise ValueError(f"{pattern}: name the networks, as in {pattern}=127.0.0.1/32")
    return {"pattern": pattern, "networks": networks}


def inherited(**given: object) -> dict[str, str]:
    """The environment for a child process: this one's, with some settings set to what they turned out to be here."""
    return {**os.environ, **{f"AGENTOS_{name.upper()}": str(value) for name, value in given.items()}}
