"""Whether an API may be sent work, asked over HTTP by the standard library.

Who asks is a supervisor, which lives for long, or a health check, which is started again and again; a library that also
knows HTTP/2, proxies and cookies would be most of what either loads.
"""

import http.client
from contextlib import closing
from urllib.parse import urlsplit


class Silent(Exception):
    """Nobody answers, or not in HTTP, or nobody can be there: it is no address."""


def asked(base: str, *, timeout_s: float) -> tuple[int, str]:
    """The status and the words with which the API at an address says how ready it is; blocks until then.

    Args:
        timeout_s: for connecting, and again for each part of the answer.

    Raises:
        Silent: it does not answer.
    """
    try:
        parts = urlsplit(base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        # Without a port, http.client takes the last group of an IPv6 address for one.
        port = parts.port or kind.default_port
        with closing(kind(parts.hostname or "", port, timeout=timeout_s)) as connection:
            connection.request("GET", f"{parts.path}/readyz")
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Silent(str(error) or type(error).__name__) from error
