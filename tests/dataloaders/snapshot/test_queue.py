"""The queue in full: what waits where, and what people decided about it."""

from datetime import timedelta

from dataloaders.snapshot import queue
from dataloaders.snapshot.queue import Depth
from dataloaders.snapshot.sources import Frame, Sources
from db import queues
from db.database import Database
from tests.dataloaders.snapshot.conftest import WORKER, Lived, frame_of


async def test_jobs_are_in_the_queue_of_the_agent_whose_turn_it_is(
    sources: Sources, frame: Frame, lived: Lived
) -> None:
    shown = await queue.collect(sources, frame)

    depths = shown.worker_assignments.queue_distribution
    assert Depth(pending=3, processing=0) == depths.file_operations
    assert Depth(pending=0, processing=1) == depths.ai_analysis
    assert Depth() == depths.transcription == depths.video_processing
    assert (3, 1) == (shown.queue_depth, shown.current_queue.processing)


async def test_its_statistics_are_counted_and_what_is_not_known_is_absent(
    sources: Sources, frame: Frame, lived: Lived
) -> None:
    told = (await queue.collect(sources, frame)).statistics

    assert (3, 3, 66.67) == (told.total_jobs_processed, told.current_queue_length, told.success_rate_percentage)
    assert "video_processing" == told.most_common_job_type
    assert (None, None) == (told.peak_queue_length_today, told.queue_health_score)


async def test_workers_serve_every_queue(sources: Sources, tenant: str, lived: Lived) -> None:
    shown = (await queue.collect(sources, frame_of(tenant))).worker_assignments

    [worker] = shown.workers
    assert (WORKER, 4, 1, 1) == (worker.worker_id, len(worker.queues), shown.total_workers, shown.active_workers)


async def test_a_pause_is_shown_while_it_lasts(sources: Sources, tenant: str, database: Database) -> None:
    before = await queue.collect(sources, frame_of(tenant))
    async with database.transaction(tenant) as tx:
        await queues.mark_paused(tx, lasting=timedelta(minutes=5), reason="maintenance")

    during = await queue.collect(sources, frame_of(tenant))

    assert (False, None, False) == (before.paused, before.paused_until, before.refusing)
    assert during.paused
    assert during.paused_until is not None
