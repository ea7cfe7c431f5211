"""The words of clients from before: each is understood, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db.database import Database
from db.models.identity import Role
from db.redis import Redis
from guards.errors import BadInput
from resolvers.context import Context
from schema.rest import legacy
from schema.rest.legacy import NOBODY
from tests.conftest import People
from tests.uploading import context_of, services_over

AN_ID = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def context(database: Database, redis: Redis, people: People, tmp_path: Path) -> Context:
    return context_of(services_over(database, redis, tmp_path), people[Role.USER])


def test_words_are_understood(context: Context) -> None:
    me = str(context.caller.user_id)
    understood: list[tuple[Callable[..., Any], object, object]] = [
        (legacy.owner, "me", me),
        (legacy.owner, " User1 ", me),
        (legacy.owner, "anonymous", me),
        (legacy.owner, "all", None),
        (legacy.owner, "", None),
        (legacy.owner, AN_ID, AN_ID),
        (legacy.owner, "user2", str(NOBODY)),
        (legacy.user, "me", me),
        (legacy.user, "all", str(NOBODY)),
        (legacy.status, "pending", "queued"),
        (legacy.status, "Running", "processing"),
        (legacy.status, "done", "done"),
        (legacy.status, 5, 5),
        (legacy.statuses, "ALL", None),
        (legacy.statuses, "pending, running, failed", "queued,processing,failed"),
        (legacy.limit, "100", 100),
        (legacy.source, "https://v.test/a", {"url": "https://v.test/a"}),
        (legacy.source, "S3://bucket/a", {"url": "S3://bucket/a"}),
        (legacy.source, f" {AN_ID} ", {"uploadId": AN_ID}),
        (legacy.source, "holidays/a.mp4", {"path": "holidays/a.mp4"}),
        (legacy.priority, 7, 7),
        (legacy.priority, "Urgent", 10),
        (legacy.priority, "low", 2),
        (legacy.workflow, "Audio_Processing", "audio_processing"),
        (legacy.workflow, "what you like!", None),
        (legacy.wishes, {"max_clips": 2, "min_seconds": None, "sound": True}, {"maxClips": 2}),
    ]

    for function, said, expected in understood:
        assert expected == function(said, context), (function.__name__, said)


def test_what_cannot_be_understood_is_named(context: Context) -> None:
    refused: list[tuple[Callable[..., Any], object, str]] = [
        (legacy.limit, "0", "limit"),
        (legacy.limit, "101", "limit"),
        (legacy.limit, "٣", "limit"),
        (legacy.limit, "9" * 5_000, "limit"),
        (legacy.source, " ", "video_url"),
        (legacy.source, {"url": "a"}, "video_url"),
        (legacy.priority, "soon", "priority"),
        (legacy.priority, "7", "priority"),
        (legacy.priority, True, "priority"),
        (legacy.priority, 0.5, "priority"),
        (legacy.priority, [], "priority"),
        (legacy.wishes, "fast", "options"),
    ]

    for function, said, named in refused:
        with pytest.raises(BadInput, match=f"^{named}"):
            function(said, context)
