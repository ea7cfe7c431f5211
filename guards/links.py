"""Signed links: who holds one may fetch one file until it expires, and can change nothing about it.

A link carries its tenant, path, name and end under an HMAC-SHA256, so it is checked without any store; nothing can be
down. It stands for itself: whoever it is handed to may use it, which is why it is short-lived. When the signing secret
changes, all links end.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from datetime import timedelta
from typing import Final

import msgspec

from guards.errors import Forbidden, NotFound

LONGEST_LIFE: Final = timedelta(days=7)
PLACE: Final = "/files/"
"""Where links lead; what follows is all that one needs to fetch the file."""

_LABEL: Final = b"agentos file link 1\0"

# Wherever it stands and however it is written: a proxy may put a folder before it, a client may mistype it, and the
# link still works for whoever reads it in a log and puts it right.
_LEADS: Final = re.compile(r"files[/\\].*", re.IGNORECASE | re.DOTALL)


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a link says, once its signature was found to be ours."""

    tenant: str
    path: str
    """Where the file is, relative to the file store; always begins with the tenant."""

    name: str
    """What the file is called when it is saved."""

    expires_at: int
    """Seconds since the epoch."""

    inline: bool
    """Whether a browser may show it in place, if it is a video or an image."""


class Links:
    """Makes and opens links; one secret of at least 32 bytes for all servers that share the files."""

    def __init__(self, secret: bytes, base_url: str) -> None:
        if len(secret) < 32:
            raise ValueError("the secret for file links needs at least 32 bytes")
        self._secret = secret
        self._base_url = base_url.rstrip("/")

    def to(
        self,
        tenant: str,
        path: str,
        name: str,
        *,
        ttl: timedelta = timedelta(hours=1),
        inline: bool = False,
        now: float | None = None,
    ) -> str:
        """The address of a stored file, good for `ttl` (at most seven days) from `now`.

        Args:
            path: relative to the file store; must be one of the tenant's.
            name: shown to who saves the file.
        """
        if not path.startswith(f"{tenant}/"):
            raise ValueError("the file belongs to another tenant")
        if not timedelta(0) < ttl <= LONGEST_LIFE:
            raise ValueError(f"a link lives at most {LONGEST_LIFE.days} days")
        at = int(time.time() if now is None else now)
        link = Link(tenant, path, name, at + int(ttl.total_seconds()), inline)
        packed = msgspec.msgpack.encode(link)
        return f"{self._base_url}{PLACE}{_b64(packed)}.{_b64(self._signature(packed))}"

    def opened(self, token: str, *, now: float | None = None) -> Link:
        """What the last part of a link's address says.

        Raises:
            NotFound: it was not made here, or was changed.
            Forbidden: it has expired.
        """
        body, _, signature = token.partition(".")
        try:
            packed, signed = _raw(body), _raw(signature)
        except (binascii.Error, ValueError) as error:
            raise NotFound("there is no such file") from error
        if not hmac.compare_digest(signed, self._signature(packed)):
            raise NotFound("there is no such file")
        link = msgspec.msgpack.decode(packed, type=Link)
        if (time.time() if now is None else now) >= link.expires_at:
            raise Forbidden("the link has expired: ask for a new one")
        return link

    def _signature(self, packed: bytes) -> bytes:
        return hmac.new(self._secret, _LABEL + packed, hashlib.sha256).digest()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _b64(raw) != text:
        raise ValueError("not written the one way it is written here")
    return raw


def hidden(path: str) -> str:
    """A path as it may be written down: without the part that would open a file for any reader."""
    return _LEADS.sub("files/…", path)
