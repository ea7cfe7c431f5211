"""The snapshot over REST: bytes that were encoded before anybody asked for them, or else once for all who do.

A body is made of the stored JSON as it is, so nothing is read, shown or written anew for a request. Each has a strong
tag of its own bytes, by which a client that has them already is told so. A browser may show what it has for as long as
the server itself would, and asks anew meanwhile.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Annotated, Any, Final, TypedDict

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dataloaders.snapshot import State, TimeRange, logs
from dataloaders.snapshot.encodings import Body, Coding, Write
from dataloaders.snapshot.logs import LINES_SHOWN
from dataloaders.snapshot.whole import Section
from db.logs import Filter
from db.models.records import Severity
from db.snapshots import TTL
from guards.errors import BadInput, Unavailable
from resolvers.context import Context
from resolvers.queries import snapshots as reads
from resolvers.timing import ms_since
from schema.rest import envelope
from schema.rest.conditions import none_match

MOST_LINES: Final = 500
DEEPEST: Final = 1_000
"""How many lines may be passed over; who looks for older ones reads `logs` page by page."""

LONGEST_ACCEPTED: Final = 200
"""How many characters of `Accept-Encoding` are looked at; what browsers send has thirty."""

_ANY: Final = "all"
_Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]

_PARTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WEIGHT: Final = re.compile(r"\s*[qQ]\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*")

_LASTING: Final = int(TTL.total_seconds())
_ALWAYS: Final = (
    (b"content-type", b"application/json"),
    (b"cache-control", f"private, max-age=0, stale-while-revalidate={_LASTING}".encode()),
    (b"vary", b"Accept-Encoding, Authorization"),
)


class LogFilters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which log lines a snapshot is to show; `all` is no filter."""

    level: Annotated[_Word, Meta(extra_json_schema={"enum": [_ANY, *Severity]})] = _ANY
    source: _Word = _ANY
    category: _Word = _ANY
    search: _Word = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_LINES)] = LINES_SHOWN
    offset: Annotated[int, Meta(ge=0, le=DEEPEST)] = 0


class Asked(TypedDict, total=False):
    """What a snapshot may be asked for with."""

    time_range: TimeRange
    log_filters: LogFilters


class Standing(State, frozen=True, kw_only=True):
    """How the snapshot stands."""

    status: str
    """`healthy` or `degraded`."""

    services: dict[str, str]
    """How each section stands: `ok`, or why it does not."""


_FILTERS: Final = msgspec.json.Decoder(LogFilters)


class Prepared(Response):
    """An answer of bytes and headers that are there already."""

    def __init__(self, content: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status
        self.background = None
        self.body = content
        self.raw_headers = headers


async def whole(request: Request, context: Context) -> Response:
    """Every section, with the log lines that were asked for."""
    # Most ask for no more than the path says, and then there is nothing to read.
    query = request.query_params if request.scope["query_string"] else {}
    time_range = _time_range(query.get("time_range", TimeRange.DAY.value))
    lines = _lines(query["log_filters"]) if "log_filters" in query else None
    write = _WHOLE[request.state.legacy, time_range]
    snapshots, tenant = context.services.snapshots, context.caller.tenant
    found = await snapshots.found(tenant, time_range)
    if lines is None:
        body = await found.bodies.of(write, _coding(request))
        return _answered(request, body, found.envelope.generated_at, hit=found.hit)
    section = await logs.filtered(snapshots.sources, tenant, *lines)
    parts = _PARTS.decode(found.bodies.encoded) | {Section.LOGS: msgspec.Raw(msgspec.json.encode(section))}
    body = await snapshots.bodies(msgspec.json.encode(parts)).of(write, _coding(request))
    return _answered(request, body, found.envelope.generated_at, hit=False)


async def dashboard(request: Request, context: Context) -> Response:
    """The first screen alone."""
    found = await context.services.snapshots.found(context.caller.tenant)
    body = await found.bodies.of(_DASHBOARD[request.state.legacy], _coding(request))
    return _answered(request, body, found.envelope.generated_at, hit=found.hit)


async def health(request: Request, context: Context) -> Response:
    """How the snapshot stands; 503 when readers get none, or one of which all is too old."""
    began = time.perf_counter()
    state = await reads.state(context, TimeRange.DAY)
    ill = state.expired or state.version is None
    said = {
        "status": "unhealthy" if ill else "degraded" if state.stale or state.last_error else "healthy",
        "services": _services(state),
    }
    data = {**said, **msgspec.structs.asdict(state)}
    legacy: bool = request.state.legacy
    if not ill:
        return envelope.told(data, 200, taken_ms=ms_since(began), beside=said if legacy else None)
    reason = state.last_error or "there is no snapshot of which anything is new enough"
    return envelope.failed(Unavailable.code, reason, legacy=legacy, beside={"data": data, **(said if legacy else {})})


def older(encoded: bytes) -> bytes:
    """A snapshot over a day under the keys that older clients read, with nothing around it."""
    return msgspec.json.encode(_older(_PARTS.decode(encoded), TimeRange.DAY))


@lru_cache(maxsize=256)
def coding_of(accepted: str) -> Coding:
    """The coding a client likes best, the smallest of several; as it is when nothing else fits."""
    weights = dict(_weighed(part) for part in accepted.lower().split(","))
    others = weights.get("*", 0.0)
    # Whoever says nothing of plain bytes takes them, but after all that they do speak of.
    weights.setdefault(Coding.IDENTITY, others)
    weights.setdefault(Coding.GZIP, weights.get("x-gzip", others))
    best = max(Coding, key=lambda coding: weights.get(coding, others))
    return best if weights.get(best, others) else Coding.IDENTITY


def _weighed(part: str) -> tuple[str, float]:
    name, _, parameter = part.partition(";")
    if not parameter.strip():
        return name.strip(), 1.0
    weight = _WEIGHT.fullmatch(parameter)
    return name.strip(), float(weight[1]) if weight else 0.0


def _coding(request: Request) -> Coding:
    return coding_of(",".join(request.headers.getlist("accept-encoding"))[:LONGEST_ACCEPTED])


def _answered(request: Request, body: Body, generated_at: datetime, *, hit: bool) -> Response:
    request.state.cache_hit = hit
    age = max(0, int((datetime.now(UTC) - generated_at).total_seconds()))
    headers = [
        *_ALWAYS,
        (b"etag", body.tag.encode()),
        (b"age", b"%d" % age),
        (b"x-cache", b"HIT" if hit else b"MISS"),
    ]
    if none_match(request.headers, body.tag):
        return Prepared(b"", 304, headers)
    if body.coding is not Coding.IDENTITY:
        headers.append((b"content-encoding", body.coding.encode()))
    headers.append((b"content-length", b"%d" % len(body.content)))
    return Prepared(b"" if request.method == "HEAD" else body.content, 200, headers)


def _time_range(text: str) -> TimeRange:
    try:
        return TimeRange(text)
    except ValueError as error:
        known = ", ".join(TimeRange)
        raise BadInput(f"time_range: one of {known} is needed, not {text[:50]!r}") from error


def _lines(text: str) -> tuple[Filter, logs.Filtered]:
    """Which log lines are asked for, for the database and in the words of the client.

    Raises:
        BadInput: the text is no JSON object of filters that there are.
    """
    try:
        filters = _FILTERS.decode(text)
    except msgspec.ValidationError as error:
        raise BadInput(f"log_filters: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadInput("log_filters: a JSON object is needed") from error
    if filters.level not in (_ANY, *Severity):
        raise BadInput(f"log_filters: level: one of {_ANY}, {', '.join(Severity)} is needed")
    wanted = Filter(
        levels=() if filters.level == _ANY else (Severity(filters.level),),
        source=None if filters.source == _ANY else filters.source,
        category=None if filters.category == _ANY else filters.category,
        message_contains=filters.search or None,
    )
    return wanted, logs.Filtered(**msgspec.structs.asdict(filters))


def _services(state: State) -> dict[str, str]:
    """How each section stands, in the words of older clients."""
    stale = {part.section: part.reason for part in state.stale}
    known = "ok" if state.version is not None else "missing"
    return {section.value: stale.get(section, known) for section in Section}


def _wrapped(
    data: msgspec.Raw | bytes, parts: Mapping[str, msgspec.Raw], beside: Mapping[str, Any], began: float
) -> bytes:
    said = {"success": True, "data": msgspec.Raw(data), "timestamp": parts["timestamp"]}
    return msgspec.json.encode({**beside, **said, "response_time_ms": ms_since(began)})


def _write_whole(encoded: bytes, *, legacy: bool, time_range: TimeRange) -> bytes:
    began = time.perf_counter()
    parts = _PARTS.decode(encoded)
    return _wrapped(encoded, parts, _older(parts, time_range) if legacy else {}, began)


def _older(parts: Mapping[str, msgspec.Raw], time_range: TimeRange) -> dict[str, Any]:
    # The server from before had the agents twice, and its clients look in either place.
    return {**parts, "agents": parts[Section.AGENTS_WORKERS], "time_range": time_range}


def _write_dashboard(encoded: bytes, *, legacy: bool) -> bytes:
    began = time.perf_counter()
    parts = _PARTS.decode(encoded)
    shown = parts[Section.DASHBOARD]
    if shown == b"null":
        raise Unavailable("the dashboard could not be collected: try again", retry_after=1)
    return _wrapped(shown, parts, {"dashboard": shown, "status": parts["status"]} if legacy else {}, began)


_WHOLE: Final[Mapping[tuple[bool, TimeRange], Write]] = MappingProxyType(
    {
        (legacy, time_range): partial(_write_whole, legacy=legacy, time_range=time_range)
        for legacy in (True, False)
        for time_range in TimeRange
    }
)
_DASHBOARD: Final[Mapping[bool, Write]] = MappingProxyType(
    {legacy: partial(_write_dashboard, legacy=legacy) for legacy in (True, False)}
)
"""By whether the keys that older clients read stand at the top level."""
