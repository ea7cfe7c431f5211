"""The whole way from nothing to clips that decode: `up --demo`, followed by a client as anybody could write one."""

import asyncio
import json
from pathlib import Path

import pytest

from agentos import demo
from agentos.client import Away, Client, Refused
from tests.agentos.commands import environment, run
from tests.agentos.test_up import STOPPED_S, up

WHOLE_WAY_S = 300


@pytest.mark.slow
async def test_an_empty_system_gets_a_history_and_a_video_whose_clips_decode(tmp_path: Path) -> None:
    env = environment(tmp_path / "data", ws_port="0", log_level="error")
    async with up(env, "--demo") as here, asyncio.timeout(WHOLE_WAY_S):
        assert here.process.stdout is not None
        line = ""
        while "through the agents as job " not in line:
            line = (await here.process.stdout.readline()).decode()
            assert line
        job_id = line.split()[-1]
        token = (await run("token", "--user", "admin@localhost", env=env)).out.strip()

        async with Client(here.url, lambda: token) as client:
            states = [job async for job in client.follow(job_id)]
            looks = [await demo.seen(client, clip) for clip in states[-1].clips]
            listed = await client.jobs(100)
            with pytest.raises(Refused) as refused:
                await client.cancel(job_id)
        again = await run("demo", "--first", env=env)
        shown = await run("job", "show", job_id, "--json", env=env)
        code, took = await here.stop()

    assert "COMPLETED" == states[-1].status
    assert {"COMPLETED"} == {step.status for step in states[-1].steps} - {"SKIPPED"}
    assert sorted(job.progress for job in states) == [job.progress for job in states]
    assert len(looks) >= demo.FEWEST_CLIPS
    assert [] == [look.trouble for look in looks if not look.frames]
    assert 26 == len(listed)
    assert "CONFLICT" == refused.value.code
    assert (0, "") == (again.code, again.out)
    assert job_id == json.loads(shown.out)["id"]
    assert (0, True) == (code, took < STOPPED_S)


async def test_where_nobody_listens_the_client_says_so() -> None:
    async with Client("http://127.0.0.1:1", lambda: "token") as client:
        with pytest.raises(Away, match="does not answer"):
            await client.ask("{ health { status } }")


async def test_the_sample_is_a_video_that_decodes(tmp_path: Path) -> None:
    async with demo.sample() as file:
        assert file.stat().st_size > 100_000

    assert not file.exists()
