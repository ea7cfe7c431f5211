"""The two front ends from before, in a real browser: what they call, and what they read of the answers.

The page makes their calls as they make them (`front_ends/page.js`); nothing of theirs is changed but who is calling.
"""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from agentos.app import create_app
from agentos.settings import Settings
from db import jobs, seed
from db.jobs import NewJob
from db.models.identity import Role
from db.models.work import JobStatus
from resolvers.context import Services
from tests.agentos.conftest import TokenOf
from tests.browsing import Page, browser
from tests.conftest import People
from tests.serving import served
from tests.videos import Videos

FOLDER = Path(__file__).parent / "front_ends"
CHAIN = ("video-downloader", "video-cutter", "clipper")


async def history(services: Services) -> tuple[UUID, UUID]:
    """A little that has happened: ids of a job that is completed, with clips, and of one that failed."""
    async with services.database.system() as tx:
        now = await tx.scalar(sa.text("SELECT now()"))
    await seed.fill(services.database, "default", jobs=30, events=40, chain=CHAIN, seed=7, now=now)
    async with services.database.transaction("default") as tx:
        done = await tx.scalar(sa.text("SELECT job_id FROM clips ORDER BY created_at DESC LIMIT 1"))
        failed = await jobs.add(tx, NewJob(user_id=None, source_url="https://example.org/f.mp4", chain=list(CHAIN)))
        await tx.execute(
            sa.text("UPDATE jobs SET status = :status, completed_at = now() WHERE id = :id"),
            {"status": JobStatus.FAILED, "id": failed.id},
        )
    return done, failed.id


def keys(found: dict[str, Any], name: str, *path: str) -> set[str]:
    """The keys at a path of an answer."""
    value = found[name]["body"]
    for step in path:
        value = value[step]
    return set(value)


@pytest.mark.slow
async def test_unmodified_front_ends_find_what_they_read(
    settings: Settings, services: Services, people: People, token_of: TokenOf, tmp_path: Path
) -> None:
    browser()
    page = Page(FOLDER)
    allowed = settings.model_copy(update={"cors_origins": (page.origin,)})
    done, failed = await history(services)
    async with served(create_app(allowed, services)) as api:
        page.files = {"video.mp4": Videos(tmp_path).silent()}
        page.rings = {"warm": services.snapshots.warm_all}
        page.config = {
            "api": f"http://{api.host}:{api.port}",
            "socket": f"ws://{api.host}:{api.port}/ws",
            "token": token_of(people[Role.ADMIN]),
            "done_job": str(done),
            "failed_job": str(failed),
        }
        told = await page.opened(tmp_path / "browser")

    assert told["failure"] is None
    found = told["found"]
    statuses = {name: answer["status"] for name, answer in found.items() if name != "socket"}
    assert {
        "ssot": 200,
        **dict.fromkeys(("pause", "resume", "retry", "report", "cache", "enter", "exit", "clear"), 200),
        "retry again": 409,
        "unknown": 400,
        "nameless": 400,
        "clicked job": 200,
        **dict.fromkeys(("agents", "health", "recent clips", "chunk"), 200),
        **dict.fromkeys(("init", "finalize", "create", "create from file", "change"), 201),
        "sourceless": 400,
        **dict.fromkeys(("status", "clips", "job", "history", "queue"), 200),
        "status of none": 404,
    } == statuses
    _require_console(found)
    _require_users(found, str(done))
    _require_socket(found["socket"], str(done))


def _require_console(found: dict[str, Any]) -> None:
    """What the console reads: all of it at the top level."""
    snapshot = found["ssot"]["body"]
    assert not snapshot.get("error")
    assert {
        *("dashboard", "agents_workers", "analytics", "queue", "logs", "system_control", "configuration"),
        *("timestamp", "status", "success", "response_time_ms"),
    } <= snapshot.keys()
    dashboard = snapshot["dashboard"]
    assert {"pending", "processing", "completed_today", "failed_today", "completed", "failed", "total"} <= dashboard[
        "queue"
    ].keys()
    assert {"total", "active", "details"} <= dashboard["workers"].keys()
    assert {"recent_jobs", "total_today", "success_rate", "total_jobs"} <= dashboard["jobs"].keys()
    assert {
        *("api_status", "database_status", "redis_status", "websocket_status"),
        *("uptime", "cpu_usage", "memory_usage", "disk_usage"),
    } <= dashboard["system"].keys()
    assert {"timestamp", "severity", "description", "source", "type"} <= dashboard["recent_activity"][0].keys()
    agents = snapshot["agents_workers"]["agents"]
    assert {"category", "status", "availability"} <= agents["status"]["agents"][0].keys()
    assert 11 == agents["status"]["total_agents"] == len(agents["agents"])
    assert {"id", "status", "created_at", "job"} <= keys(found, "clicked job")
    for name in ("pause", "report", "cache", "clear"):
        assert {"success", "result", "trace_id", "timestamp", "duration_ms"} <= keys(found, name), name
    for name in ("retry again", "unknown", "nameless"):
        body = found[name]["body"]
        assert body["detail"] == body["error"]
        assert body["success"] is False


def _require_users(found: dict[str, Any], done: str) -> None:
    """What the front end of users reads."""
    agents = found["agents"]["body"]
    assert {"agents", "timestamp", "total_count", "available_count"} <= agents.keys()
    assert {"active"} == {agent["status"] for agent in agents["agents"]}
    assert {"name", "capabilities"} <= agents["agents"][0].keys()
    assert "healthy" == found["health"]["body"]["status"]
    clips = found["recent clips"]["body"]
    assert {"path", "filename", "validation", "is_valid", "size", "created"} <= clips["clips"][0].keys()
    assert clips["clips"][0]["validation"]["duration"] > 0
    assert 10 == len(clips["clips"]) <= clips["total_available"]
    assert found["finalize"]["body"]["file_path"] == found["finalize"]["body"]["filePath"]
    assert "metadata" in found["finalize"]["body"]
    for name in ("create", "create from file"):
        assert {"success", "job_id", "status", "message", "estimated_completion"} <= keys(found, name), name
    assert {"status", "progress", "message", "current_agent", "error_message"} <= keys(found, "status")
    assert {"clips", "total_clips", "processing_time", "worker_id"} <= keys(found, "clips")
    assert {
        *("url", "downloadUrl", "streamUrl", "download_url", "file_path"),
        *("title", "name", "description", "duration", "aiScore", "isValid", "clipType"),
    } <= found["clips"]["body"]["clips"][0].keys()
    assert done == found["job"]["body"]["job"]["id"]
    history = found["history"]["body"]
    assert {"jobs", "total_jobs", "success_rate", "avg_processing_time"} <= history.keys()
    assert 2 == len(history["jobs"]) == history["total_jobs"]
    assert "stats" in found["queue"]["body"]


def _require_socket(told: dict[str, Any], done: str) -> None:
    """What both hear: who they are welcome, how the queue and their job stand, and the snapshot once it changes."""
    assert "told" == told["why"], told
    first = {message["type"]: message for message in reversed(told["heard"])}
    assert ["connection_established", "queue_stats"] == [message["type"] for message in told["heard"][:2]]
    assert "admin_updates" == first["subscription_confirmed"]["channel"]
    assert (done, "completed") == (first["job_status"]["job_id"], first["job_status"]["status"])
    assert "timestamp" in first["pong"]
    assert {"dashboard", "agents_workers", "queue"} <= set(first["admin_data_update"]["data"])
