"""A worker process for fault tests, to be forked: the real one, with agents that take a moment and leave a mark.

`--unfenced` is the weakened twin: it writes without looking whether its claim is still the newest. `--held` is one
that is frozen before it completes a job: it says `completing`, and goes on when it was stopped and thawed.
"""

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from dataloaders.snapshot import About, Snapshots
from db import leases
from db.agents import Known
from db.database import Database, Transaction
from db.files import Files
from db.jobs import JOB, Job
from db.leases import Claim
from db.models.work import AgentCategory
from db.models.work import jobs as table
from db.redis import connect
from tests.trails import anchors_in
from workers.agents.contract import Agent, MadeClip, Output, Reason, Step, Tools
from workers.running import Shift, work

LEASE = timedelta(seconds=2)
HEARTBEAT = timedelta(seconds=0.5)
CHAIN = ("video-downloader", "clipper")

log = logging.getLogger(__name__)
_complete = leases.complete


class Made(Output, frozen=True):
    """What a quick agent leaves."""


async def _moment(step: Step, tools: Tools) -> Output:
    await asyncio.sleep(random.uniform(0.1, 0.6))
    return Made()


async def _clip(step: Step, tools: Tools) -> Output:
    await asyncio.sleep(random.uniform(0.1, 0.6))
    (tools.folder / "one.mp4").write_bytes(step.job_id.bytes)
    clip = MadeClip(
        path="one.mp4",
        thumbnail=None,
        title=str(step.job_id),
        start_s=0,
        end_s=1,
        duration_s=1,
        width=2,
        height=2,
        score=1,
        reasons=(Reason("it is there", 1),),
    )
    return Made(clips=(clip,))


def agents() -> dict[str, Agent]:
    """The two agents of the chain."""
    return {
        agent_id: Agent(
            known=Known(agent_id, agent_id, AgentCategory.EDITING, "", "1", 60),
            output=Made,
            run=_clip if agent_id == "clipper" else _moment,
        )
        for agent_id in CHAIN
    }


async def _unguarded(tx: Transaction, claim: Claim) -> Job:
    job = await JOB.first(tx, JOB.select().where(table.c.id == claim.job.id).with_for_update())
    assert job is not None
    return job


def _held_by_anybody(worker_id: str, held: Collection[tuple[UUID, int]]) -> sa.ColumnElement[bool]:
    return table.c.id.in_([job_id for job_id, _ in held])


async def _as_ever(tx: Transaction, worker_id: str, held: Collection[tuple[UUID, int]], **_: Any) -> list[leases.Held]:
    return [leases.Held(job_id, fence, False) for job_id, fence in held]


async def _completed_late(tx: Transaction, claim: Claim) -> Job:
    """Complete a job once this process has been stopped and goes on again."""
    # However long it is frozen: the server would end the transaction after ten seconds, and no fence would be tried.
    await tx.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    thawed = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, thawed.set)
    log.info("completing")
    await thawed.wait()
    return await _complete(tx, claim)


def _about(root: Path) -> About:
    return About(version="0", started_at=datetime.now(UTC), data_dir=root, host="127.0.0.1", port=0, ws_port=0)


async def _work(database_url: str, redis_url: str, root: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    database = Database.connect(database_url, size=6)
    redis = connect(redis_url)
    shift = Shift(
        database=database,
        redis_url=redis_url,
        snapshots=Snapshots(database, redis, _about(Path(root))),
        files=Files(Path(root)),
        anchors=anchors_in(database, Path(root) / "audit"),
        version="0",
        concurrency=4,
        lease=LEASE,
        heartbeat=HEARTBEAT,
        agents=agents(),
    )
    await work(shift, stop)


def main(database_url: str, redis_url: str, root: str, *flags: str) -> None:
    """Work until asked to stop."""
    if "--held" in flags:
        leases.complete = _completed_late
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    if "--unfenced" in flags:
        leases._guarded = _unguarded
        leases.keep = leases.look = _as_ever
    asyncio.run(_work(database_url, redis_url, root))
