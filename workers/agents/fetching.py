"""Fetching a video from an address on the web, without being sent anywhere else.

An address is only ever used as the numbers it was resolved to and checked as, so neither a redirect nor a name that
changes its mind between check and connection can reach a private network.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from workers.failures import SourceUnavailable, StepFailed
from workers.media import pages

MOST_HOPS: Final = 5
PATIENCE: Final = httpx.Timeout(20.0, connect=10.0)
_NAT64: Final = IPv6Network("64:ff9b::/96")

Compute = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a fetch may take and touch."""

    most_bytes: int
    private_allowed: bool = False
    """Whether loopback, private and link-local addresses may be connected to."""


async def fetch(
    url: str, target: Path, limits: Limits, *, page: Compute, on_progress: Callable[[float], Awaitable[None]]
) -> None:
    """Bring what an address leads to into a file.

    Args:
        page: runs the reading of a web page in a process of its own.

    Raises:
        StepFailed: the address may not be used, leads to no video, or to one that is too large.
        SourceUnavailable: its server does not answer just now.
    """
    # No proxy of the environment: it would connect on our behalf, to wherever the name leads by then.
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE, follow_redirects=False) as client:
        try:
            if await _downloaded(client, url, target, limits, on_progress):
                return
            found = await page(pages.video_address, url, limits.private_allowed)
            if not await _downloaded(client, found, target, limits, on_progress):
                raise StepFailed("the address leads to a web page, not to a video")
        except (httpx.TimeoutException, httpx.TransportError) as error:
            raise SourceUnavailable(f"the server of the address cannot be reached ({type(error).__name__})") from None


async def _downloaded(
    client: httpx.AsyncClient,
    url: str,
    target: Path,
    limits: Limits,
    on_progress: Callable[[float], Awaitable[None]],
) -> bool:
    """Follow an address to its end and store what is there; False when that is a web page."""
    for _ in range(MOST_HOPS):
        async with client.stream(**await _request(url, limits)) as answer:
            if answer.is_redirect:
                url = urljoin(url, answer.headers["location"])
                continue
            _check(answer)
            if answer.headers.get("content-type", "").startswith(("text/html", "application/xhtml")):
                return False
            await _stored(answer, target, limits, on_progress)
            return True
    raise StepFailed("the address leads from one address to the next without end")


async def _request(url: str, limits: Limits) -> dict[str, Any]:
    """A request to the checked numbers of an address, in the name of its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise StepFailed("the address is not a web address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise StepFailed("only http and https addresses can be fetched")
    number = await _checked(host, port or (443 if parts.scheme == "https" else 80), limits)
    literal = f"[{number}]" if number.version == 6 else str(number)
    netloc = literal if port is None else f"{literal}:{port}"
    name = f"[{host}]" if ":" in host else host
    return {
        "method": "GET",
        "url": parts._replace(netloc=netloc, fragment="").geturl(),
        "headers": {
            "Host": name if port is None else f"{name}:{port}",
            "Accept-Encoding": "identity",
            "User-Agent": "AgentOS",
        },
        "extensions": {"sni_hostname": host},
    }


async def _checked(host: str, port: int, limits: Limits) -> IPv4Address | IPv6Address:
    """The one address a host is connected at.

    Raises:
        StepFailed: any of its addresses is not a public one; a host that mixes them is up to something.
    """
    try:
        async with asyncio.timeout(10):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise SourceUnavailable("the name of the address could not be looked up in time") from None
    except (OSError, UnicodeError):
        raise StepFailed("the host of the address is not known") from None
    numbers = [ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    if not limits.private_allowed and not all(is_public(number) for number in numbers):
        raise StepFailed("the address lies in a private network and may not be fetched")
    return numbers[0]


def is_public(number: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the public internet, also when it wraps an older one."""
    if isinstance(number, IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour
        if number.teredo is not None:
            return False
        if number in _NAT64:
            inner = IPv4Address(int(number) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
    return number.is_global and not number.is_multicast


def _check(answer: httpx.Response) -> None:
    code = answer.status_code
    if code in (408, 425, 429) or code >= 500:
        raise SourceUnavailable(f"the server of the address answered {code}")
    if code in (401, 403):
        raise StepFailed("the address needs a login")
    if code in (404, 410):
        raise StepFailed("there is nothing at the address")
    if code != 200:
        raise StepFailed(f"the server of the address answered {code}")


async def _stored(
    answer: httpx.Response, target: Path, limits: Limits, on_progress: Callable[[float], Awaitable[None]]
) -> None:
    declared = answer.headers.get("content-length", "")
    expected = int(declared) if declared.isdecimal() else None
    if expected is not None and expected > limits.most_bytes:
        raise StepFailed(_too_large(limits))
    size = 0
    with target.open("wb") as file:
        # Raw, so that a small answer that unpacks into a huge one stays small.
        async for block in answer.aiter_raw(1 << 18):
            size += len(block)
            if size > limits.most_bytes:
                raise StepFailed(_too_large(limits))
            await asyncio.to_thread(file.write, block)
            if expected:
                await on_progress(0.9 * size / expected)
    if expected is not None and size < expected:
        raise SourceUnavailable("the server ended before the video was whole")


def _too_large(limits: Limits) -> str:
    return f"the video is larger than {limits.most_bytes // 1_000_000} MB"
