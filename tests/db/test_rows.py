"""Rows: what is read is frozen, named as the columns, and no more than asked for."""

from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa

from db.database import Database
from db.models.identity import users
from db.rows import Row, Shape
from tests.conftest import People


class Person(Row, frozen=True):
    """Two columns, and one that is worked out."""

    email: str
    id: UUID
    initial: str


PERSON = Shape(Person, users, initial=sa.func.upper(sa.func.left(users.c.email, 1)))


async def test_a_shape_reads_the_columns_that_its_row_names_in_that_order(database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        found = await PERSON.all(tx, PERSON.select().order_by(users.c.email))
        first = await PERSON.first(tx, PERSON.select().order_by(users.c.email))
        nobody = await PERSON.first(tx, PERSON.select().where(users.c.email == "nobody"))

    assert sorted((user.email, user.id, user.email[0].upper()) for user in people.values()) == [
        msgspec.structs.astuple(person) for person in found
    ]
    assert (found[0], None) == (first, nobody)
    assert ["email", "id", "initial"] == [column.name for column in PERSON.columns]


async def test_what_a_statement_changed_is_read_like_what_it_selects(database: Database, people: People) -> None:
    async with database.transaction("default") as tx:
        changed = await PERSON.all(
            tx, sa.update(users).where(users.c.email == "user@default.test").values(name="U").returning(*PERSON.columns)
        )

    assert ["user@default.test"] == [person.email for person in changed]


def test_a_row_cannot_be_changed() -> None:
    person = Person("a@b.c", UUID(int=1), "A")

    with pytest.raises(AttributeError, match="immutable"):
        person.email = "x"  # type: ignore[misc] # the refusal of it is what is shown


def test_a_row_that_names_no_column_is_noticed_when_its_shape_is_made() -> None:
    class Wrong(Row, frozen=True):
        """Of a test."""

        no_such_column: str

    with pytest.raises(KeyError):
        Shape(Wrong, users)
