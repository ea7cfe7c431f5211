"""A web page is read for its video only, and never from a private network."""

import asyncio
import importlib.util
import socket
import sys

import pytest

from workers import compute
from workers.failures import StepFailed
from workers.media import pages


def connection_refused_by_the_guard(port: int) -> bool:
    """Only for a process of its own: a guard once set stays."""
    sys.addaudithook(pages._only_public)
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except PermissionError:
        return True
    return False


async def test_the_guarded_process_cannot_connect_to_a_private_address() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        assert await compute.run(connection_refused_by_the_guard, port)


@pytest.mark.skipif(importlib.util.find_spec("yt_dlp") is not None, reason="says what happens without yt-dlp")
def test_without_the_tool_a_page_is_refused_in_plain_words() -> None:
    with pytest.raises(StepFailed, match="leads to a web page, not to a video; yt-dlp is not installed here"):
        pages.video_address("https://example.org/", False)
