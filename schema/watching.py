"""Subscriptions: each event is executed and encoded once for all who asked the same in the same scope.

What was asked is a document, the name of the operation in it and its variables, but for those that only say after what
to begin. What is executed for several is handed a context made of their scope (`resolvers.context.Scope`), which knows
of nobody in particular; so what is shared cannot differ between them, whatever a resolver reads. Each event has loaders
of its own. Who is behind, or has come back, asks for events that others had seconds before: those are kept for a while.

Executing costs connections to the database, which everybody needs. A few events are executed at once in a process, and
fewer of what one user alone watches, so that many different documents of one user keep nobody else waiting.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import ClassVar, Final
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from db.events import Cursor
from resolvers.context import Scope

KEPT: Final = 256
"""Answers of one audience."""

KEPT_BYTES: Final = 2**20
"""Of one audience, beside its newest answer."""

KEPT_S: Final = 5.0
"""How old an answer may be: it shows how things stood when it was made."""

AT_ONCE: Final = 6
"""Events executed at a time, of the ten connections that a process has."""

EACH_AT_ONCE: Final = 2
"""Of those, for one user alone, or for one audience of several."""


class Told:
    """One answer on its way to clients, as bytes; the same object for all who get it."""

    def __init__(self, body: bytes, *, cursor: Cursor | None = None, began: bool = True, ok: bool = True) -> None:
        """
        Args:
            body: the encoded result: `data`, `errors`, `extensions`.
            cursor: after which to go on from here; None where there is no such place.
            began: whether any field was reached; if not, no other answer follows.
            ok: whether it has no errors.
        """
        self.body = body
        self.cursor = cursor
        self.began = began
        self.ok = ok
        self.at = time.monotonic()
        """When it had been read."""

    @cached_property
    def text(self) -> str:
        """The body, where text is sent."""
        return self.body.decode()


class Placed(ABC):
    """What a stream yields that has a place in it."""

    shared: ClassVar[bool] = True
    """Whether others who ask the same are told the same of it."""

    @property
    @abstractmethod
    def place(self) -> Cursor:
        """After which to go on from here."""


class Asked(msgspec.Struct, frozen=True):
    """What several may have asked alike."""

    query: str
    operation_name: str | None
    variables: bytes
    scope: Scope


class _Answer:
    """An answer that is made, or being made."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.made = asyncio.Event()
        self.told: Told | None = None
        self.failure: BaseException | None = None


class Audience:
    """All who asked the same in the same scope."""

    def __init__(self, asked: Asked, watching: "Watching") -> None:
        self.asked = asked
        """Held once for all of them."""

        self.members = Counter[UUID]()
        """How often each user is in it."""

        self._watching = watching
        self._answers: OrderedDict[Cursor, _Answer] = OrderedDict()
        self._bytes = 0
        self._making: set[asyncio.Task[None]] = set()

    async def told(self, cursor: Cursor, make: Callable[[], Awaitable[Told]], *, since: float = 0.0) -> Told:
        """What is told of the event at a cursor; `make` is called once, whoever goes away meanwhile.

        Args:
            since: it is read no earlier than that, for what was told before it must not be newer.
        """
        answer = self._answers.get(cursor)
        if answer is None or answer.at < max(since, time.monotonic() - KEPT_S):
            answer = self._begun(cursor, make)
        if answer.told is None:
            await answer.made.wait()
        if answer.failure is not None:
            raise answer.failure
        assert answer.told is not None
        self._watching.told += 1
        return answer.told

    def _begun(self, cursor: Cursor, make: Callable[[], Awaitable[Told]]) -> _Answer:
        self._forget(cursor)
        answer = self._answers[cursor] = _Answer()
        # Apart from whoever asked first: they may leave while others wait for the same.
        task = asyncio.create_task(self._make(cursor, answer, make), name=f"event {cursor}")
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        asyncio.get_running_loop().call_later(KEPT_S, self._forget_old)
        return answer

    async def _make(self, cursor: Cursor, answer: _Answer, make: Callable[[], Awaitable[Told]]) -> None:
        try:
            async with self._watching.turn(self):
                answer.at = time.monotonic()
                answer.told = await make()
            if self._answers.get(cursor) is answer:
                self._bytes += len(answer.told.body)
            while len(self._answers) > 1 and (len(self._answers) > KEPT or self._bytes > KEPT_BYTES):
                self._forget(next(iter(self._answers)))
        except BaseException as error:
            answer.failure = error
            if self._answers.get(cursor) is answer:
                self._forget(cursor)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            answer.made.set()

    def _forget_old(self) -> None:
        """Let go what is too old to be told, also where nothing happens any more."""
        oldest = time.monotonic() - KEPT_S
        for cursor in [each for each, answer in self._answers.items() if answer.made.is_set() and answer.at <= oldest]:
            self._forget(cursor)

    def _forget(self, cursor: Cursor) -> None:
        answer = self._answers.pop(cursor, None)
        if answer is not None and answer.told is not None:
            self._bytes -= len(answer.told.body)


class Watching:
    """The audiences of those who listen to one hub."""

    def __init__(self) -> None:
        self.audiences: dict[Asked, Audience] = {}
        self.executed = 0
        """Events executed for audiences."""

        self.told = 0
        """Answers handed to members of audiences."""

        self._all = asyncio.Semaphore(AT_ONCE)
        self._lanes: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, audience: Audience) -> AsyncIterator[None]:
        """Execute an event of an audience inside the block, once it is its turn."""
        [*users] = audience.members
        key: Hashable = users[0] if len(users) == 1 else audience.asked
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = asyncio.Semaphore(EACH_AT_ONCE)
        async with lane, self._all:
            self.executed += 1
            yield

    @contextmanager
    def audience(self, asked: Asked, user_id: UUID) -> Iterator[Audience]:
        """The audience of those who ask that, with a user in it for as long as the block lasts."""
        audience = self.audiences.get(asked)
        if audience is None:
            audience = self.audiences[asked] = Audience(asked, self)
        audience.members[user_id] += 1
        try:
            yield audience
        finally:
            audience.members[user_id] -= 1
            audience.members += Counter()
            if not audience.members:
                self.audiences.pop(audience.asked, None)
