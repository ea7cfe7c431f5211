"""Whatever is sent in whatever order, an upload is what a bytearray would be, or refuses."""

import hashlib
from collections.abc import Awaitable
from pathlib import Path
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st

from db.database import Database
from db.models.identity import Role
from db.models.work import UploadStatus
from db.redis import Redis
from db.uploads import Upload
from db.users import User
from guards.errors import BadInput, Conflict, Mismatch, Refusal
from resolvers import uploads
from resolvers.context import Context
from tests.uploading import begun, context_of, finalized, services_over, sha256, standing, streamed, video

SIZE, CHUNK = 47, 10
CONTENT = video(SIZE)
COUNT = 5
SEQUENCES = 15

indexes = st.integers(-1, COUNT)
moves = st.one_of(
    st.tuples(st.just("send"), indexes),
    st.tuples(st.just("other bytes"), indexes),
    st.tuples(st.just("truncated"), indexes),
    st.tuples(st.just("overlapping"), indexes),
    st.tuples(st.just("corrupt"), indexes),
    st.tuples(st.just("finalize"), indexes),
)


class Model:
    """What an upload should be: bytes, and which places are written."""

    def __init__(self) -> None:
        self.content = bytearray(SIZE)
        self.written: dict[int, bytes] = {}
        self.completed = False

    def expected(self, index: int, chunk: bytes, digest: str | None) -> type[Refusal] | None:
        """The refusal a chunk should meet, or None after it was taken."""
        if not 0 <= index < COUNT:
            return BadInput
        if len(chunk) != len(place(index)):
            return BadInput
        if digest is not None and digest != sha256(chunk):
            return Mismatch
        if index in self.written:
            return None if self.written[index] == chunk else Conflict
        self.written[index] = chunk
        self.content[index * CHUNK : index * CHUNK + len(chunk)] = chunk
        return None


def place(index: int) -> bytes:
    return CONTENT[max(index, 0) * CHUNK : max(index, 0) * CHUNK + CHUNK]


def sent_as(move: str, index: int) -> tuple[bytes, str | None]:
    """The bytes and the digest of a move."""
    chunk = place(index)
    match move:
        case "other bytes":
            # Where a file says what it is, other bytes would only make it no video.
            return (bytes(len(chunk)) if index else chunk), None
        case "truncated":
            return chunk[:-1], None
        case "overlapping":
            return chunk + b"!", None
        case "corrupt":
            return bytes([byte ^ 1 for byte in chunk]), sha256(chunk)
    return chunk, sha256(chunk)


async def refusal_of(answer: Awaitable[Upload]) -> type[Refusal] | None:
    try:
        await answer
    except Refusal as refusal:
        return type(refusal)
    return None


async def tried(context: Context, model: Model, upload_id: UUID, move: str, index: int) -> None:
    if move == "finalize":
        refusal = await refusal_of(finalized(context, upload_id))
        model.completed = len(model.written) == COUNT
        assert (None if model.completed else Conflict) is refusal
    else:
        chunk, digest = sent_as(move, index)
        refusal = await refusal_of(uploads.receive(context, upload_id, index, streamed(chunk, step=3), digest))
        assert model.expected(index, chunk, digest) is refusal, (move, index)
    stands = await standing(context, upload_id)
    assert stands is not None
    row = stands.upload
    assert sum(map(len, model.written.values())) == row.received_bytes
    assert model.completed is (row.status is UploadStatus.COMPLETED)
    if model.completed:
        assert model.content == context.services.files.resolve(row.path or "").read_bytes()
        assert hashlib.sha256(model.content).hexdigest() == row.sha256


@pytest.fixture
def sender(database: Database, redis: Redis, people: dict[Role, User], tmp_path: Path) -> Context:
    return context_of(services_over(database, redis, tmp_path), people[Role.USER])


@pytest.mark.slow
async def test_an_upload_is_a_bytearray(sender: Context) -> None:
    """Each sequence of moves is one upload, compared with the model after every move, and finished in the end."""
    completed = 0
    for sequence in _sequences(SEQUENCES):
        upload, model = await begun(sender, CONTENT, CHUNK), Model()
        for move, index in [*sequence, *(("send", index) for index in range(COUNT)), ("finalize", 0)]:
            await tried(sender, model, upload.id, move, index)
        completed += model.completed

    assert SEQUENCES == completed


def _sequences(count: int) -> list[list[tuple[str, int]]]:
    """Sequences of moves, drawn beforehand: Hypothesis cannot await."""
    found: list[list[tuple[str, int]]] = []

    @hypothesis.settings(max_examples=count, database=None, derandomize=True)
    @hypothesis.given(st.lists(moves, min_size=5, max_size=14))
    def draw(sequence: list[tuple[str, int]]) -> None:
        found.append(sequence)

    draw()
    return found[:count]
