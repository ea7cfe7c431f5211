"""Finding the video on a web page, with yt-dlp where it is installed."""

import importlib
import logging
import socket
import sys
from ipaddress import ip_address
from typing import Any

from workers.failures import StepFailed


def video_address(url: str, private_allowed: bool) -> str:
    """The address of the one video file a page shows; only for a process of its own.

    yt-dlp goes wherever a page sends it, so every connection this process makes from here on is checked.

    Raises:
        StepFailed: yt-dlp is not installed, or finds no video it could fetch as one file.
    """
    try:
        tool: Any = importlib.import_module("yt_dlp")
    except ImportError:
        raise StepFailed("the address leads to a web page, not to a video; yt-dlp is not installed here") from None
    if not private_allowed:
        sys.addaudithook(_only_public)
    log = logging.getLogger("yt_dlp")
    log.addHandler(logging.NullHandler())
    options = {"quiet": True, "logger": log, "noplaylist": True, "format": "b[ext=mp4]/b", "proxy": ""}
    try:
        with tool.YoutubeDL(options) as reader:
            found: dict[str, Any] = reader.extract_info(url, download=False) or {}
    except tool.utils.DownloadError:
        raise StepFailed("there is no video on the page of the address") from None
    address = found.get("url")
    if not isinstance(address, str):
        raise StepFailed("there is no single video on the page of the address")
    return address


def _only_public(event: str, args: tuple[Any, ...]) -> None:
    if event != "socket.connect" or args[0].family not in (socket.AF_INET, socket.AF_INET6):
        return
    if not ip_address(str(args[1][0]).split("%")[0]).is_global:
        raise PermissionError("only public addresses may be connected to")
