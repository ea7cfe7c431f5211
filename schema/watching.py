"""Subscriptions: each event is executed and encoded once for all who asked the same in the same scope.

What was asked is a document, the name of the operation in it and its variables, but for those that only say after what
to begin. What is executed for several is handed a context made of their scope (`resolvers.context.Scope`), which knows
of nobody in particular; so what is shared cannot differ between them, whatever a resolver reads. Each event has loaders
of its own. Who is behind, or has come back, asks for events that others had seconds before: those are kept for a while.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import ClassVar, Final

import msgspec

from db.events import Cursor
from resolvers.context import Scope

KEPT: Final = 256
"""Answers of one audience."""

KEPT_BYTES: Final = 4 * 2**20
KEPT_S: Final = 5.0
"""How old an answer may be: it shows how things stood when it was made."""


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

    house: int
    """Of which process's services, where a process has several."""

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

        self.members = 0
        self._watching = watching
        self._answers: OrderedDict[Cursor, _Answer] = OrderedDict()
        self._bytes = 0
        self._making: set[asyncio.Task[None]] = set()

    async def told(self, cursor: Cursor, make: Callable[[], Awaitable[Told]]) -> Told:
        """What is told of the event at a cursor; `make` is called once, whoever goes away meanwhile."""
        answer = self._answers.get(cursor)
        if answer is None or time.monotonic() - answer.at > KEPT_S:
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
        return answer

    async def _make(self, cursor: Cursor, answer: _Answer, make: Callable[[], Awaitable[Told]]) -> None:
        self._watching.executed += 1
        try:
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

    def _forget(self, cursor: Cursor) -> None:
        answer = self._answers.pop(cursor, None)
        if answer is not None and answer.told is not None:
            self._bytes -= len(answer.told.body)


class Watching:
    """The audiences of one process."""

    def __init__(self) -> None:
        self.audiences: dict[Asked, Audience] = {}
        self.executed = 0
        """Events executed for audiences."""

        self.told = 0
        """Answers handed to members of audiences."""

    @contextmanager
    def audience(self, asked: Asked) -> Iterator[Audience]:
        """The audience of those who ask that, for as long as the block lasts."""
        audience = self.audiences.get(asked)
        if audience is None:
            audience = self.audiences[asked] = Audience(asked, self)
        audience.members += 1
        try:
            yield audience
        finally:
            audience.members -= 1
            if not audience.members:
                self.audiences.pop(audience.asked, None)
