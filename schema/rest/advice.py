"""What the reader of a refusal should do, in the words of the guide and of the description of REST."""

from collections.abc import Mapping
from typing import Final

ADVICE: Final[Mapping[str, str]] = {
    "REFUSED": "Read the message; it names what stands in the way.",
    "UNAUTHENTICATED": "Sign in again, or refresh: access tokens last fifteen minutes. "
    "Send yours as `Authorization: Bearer …`.",
    "FORBIDDEN": "Ask somebody whose role may do it; the message names the permission, "
    "[permissions](permissions.md) the roles that have it.",
    "NOT_FOUND": "Check the id. What belongs to somebody else looks exactly like what is not there.",
    "VALIDATION_ERROR": "Correct the field that the message names; sending the same again will not help.",
    "UNKNOWN_ACTION": "Correct the name; [actions](actions.md) lists them all.",
    "OPERATION_FAILED": "Read why in the message; what was begun may be there in part. "
    "`{ operations { … } }` shows how far it came.",
    "CONFLICT": "Read the present state first: the job has finished, or somebody was quicker. Then decide again.",
    "TOO_LARGE": "Send less: a file of at most 100 MB, in chunks of at most 8 MB.",
    "QUOTA_EXCEEDED": "Remove uploads that are not needed, finish those begun, "
    "or have `AGENTOS_UPLOAD_QUOTA_MB` raised.",
    "CHECKSUM_MISMATCH": "Bytes were changed on the way, or the digest is of something else: compare it with the "
    "file here, then send that chunk, or the file, again.",
    "UNSUPPORTED_MEDIA": "Send a body as what the message names, JSON as `application/json`; a video as MP4, MOV, "
    "WebM, MKV or AVI, where it is the content that counts, not the name.",
    "RATE_LIMITED": "Wait for the `retryAfter` seconds of the answer, then go on more slowly.",
    "IDEMPOTENCY_IN_PROGRESS": "Ask again after `retryAfter`, with the same key: the answer of the first call follows.",
    "IDEMPOTENCY_MISMATCH": "Choose a new key for each call, and send the same payload when you repeat one.",
    "CIRCUIT_OPEN": "Nothing was done. Try again after `retryAfter`; without one, somebody isolated it by hand: "
    "`{ breakers { dependency state reason } }` tells why.",
    "MAINTENANCE": "Wait until the system takes new work again; what is at work goes on.",
    "UNAVAILABLE": "Nothing was done, unless the message says that this is not known. Try again after `retryAfter`; "
    "if it lasts, look at `/readyz`.",
    "NOT_CONTROLLABLE": "Do it where the process is run: under `up` this works, "
    "in a cluster it is the cluster's to do.",
    "SLOW_CONSUMER": "Subscribe again with the last cursor that arrived; nothing is lost. "
    "Then ask for fewer kinds, or read faster.",
}
"""What the reader of a refusal should do, by its code; a test fails when one is missing."""
