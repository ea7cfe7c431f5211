"""Every post fits its platform, whatever there is to say."""

import json
from pathlib import Path

import pytest

from tests.workers.agents import known
from tests.workers.agents.bench import Job
from workers.agents import social_post_generator
from workers.agents.contract import Source
from workers.agents.script_generator import Beat, Script
from workers.agents.social_post_generator import PLATFORMS, Posts, counted


def job_with(folder: Path, *, hook: str, keywords: list[str]) -> Job:
    job = Job(folder, Source())
    job.put(known.clips((0.0, 4.0)))
    job.put(
        Script(
            title="Garden tour",
            hook=hook,
            outline=[Beat(start_s=0.0, end_s=4.0, text="At 0:00: Tomatoes.")],
            narration=hook,
            keywords=keywords,
            captions=[],
        )
    )
    return job


async def test_there_is_a_post_for_each_platform(tmp_path: Path) -> None:
    job = job_with(tmp_path, hook="These tomatoes survived.", keywords=["garden", "tomato's"])

    await job.do(social_post_generator.AGENT)

    posts = {post.platform: post for post in job.found(Posts).posts}
    assert [platform.id for platform in PLATFORMS] == list(posts)
    assert "These tomatoes survived. #Shorts #garden #tomatos" == posts["youtube-shorts"].text
    assert posts["x"].text == ("These tomatoes survived.\n\nGarden tour\n\n• At 0:00: Tomatoes.\n\n#garden #tomatos")
    assert {"clip-01.mp4"} == {post.clip for post in posts.values()}
    written = json.loads((job.benches[Posts.agent].folder / "posts.json").read_text())
    assert [post.text for post in posts.values()] == [entry["text"] for entry in written]


@pytest.mark.parametrize("hook", ["word " * 1000, "庭" * 3000, "x" * 5000, ""])
@pytest.mark.parametrize("keywords", [[], ["garden"] * 3, ["k" * 300, "m" * 90], [f"word{n}" for n in range(20)]])
async def test_a_post_never_exceeds_its_limit(hook: str, keywords: list[str], tmp_path: Path) -> None:
    job = job_with(tmp_path, hook=hook, keywords=keywords)

    await job.do(social_post_generator.AGENT)

    for post, platform in zip(job.found(Posts).posts, PLATFORMS, strict=True):
        assert counted(post.text) == post.length <= post.limit == platform.most
        assert len(post.hashtags) <= platform.hashtags
