"""What the demo is made of; `test_up.py` goes the whole way from nothing to clips."""

from pathlib import Path

import pytest

from agentos import demo
from agentos.client import Away, Client


async def test_where_nobody_listens_the_client_says_so() -> None:
    async with Client("http://127.0.0.1:1", lambda: "token") as client:
        with pytest.raises(Away, match="does not answer"):
            await client.ask("{ health { status } }")


async def test_the_sample_is_a_video_that_decodes(tmp_path: Path) -> None:
    async with demo.sample() as file:
        assert file.stat().st_size > 100_000

    assert not file.exists()
