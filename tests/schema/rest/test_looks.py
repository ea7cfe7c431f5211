"""Enums and times are shown to REST clients as they know them, wherever they stand."""

from datetime import UTC, datetime
from enum import Enum
from typing import Any

import strawberry
from graphql import OperationDefinitionNode, parse

from schema.rest import looks


@strawberry.enum
class Colour(Enum):
    DARK_RED = "dark_red"
    BLUE = "blue"


@strawberry.type
class Ball:
    colour: Colour
    colours: list[Colour]
    bought_at: datetime
    lost: "Ball | None"
    name: str


@strawberry.type
class Query:
    @strawberry.field
    def balls(self) -> list[Ball]:
        at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        inner = Ball(colour=Colour.BLUE, colours=[], bought_at=at, lost=None, name="BLUE")
        return [Ball(colour=Colour.DARK_RED, colours=[Colour.BLUE], bought_at=at, lost=inner, name="DARK_RED")]


DOCUMENT = """
query Balls {
  __typename
  balls {
    ...seen
    lost { ...seen lost { name } ... on Ball { again: colour } ... { once_more: colour } }
    ... on Ball { lost { third: colour } }
  }
}
fragment seen on Ball { hue: colour colours bought_at: boughtAt name kind: __typename }
"""


def test_an_answer_is_shown_throughout() -> None:
    schema = strawberry.Schema(Query)
    document = parse(DOCUMENT)
    [operation] = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    answer: Any = schema.execute_sync(DOCUMENT)
    assert answer.errors is None

    seen = looks.seen(answer.data, looks.of(schema._schema, document, operation))

    at = "2026-01-02T03:04:05Z"
    lost: dict[str, Any] = {"hue": "blue", "colours": [], "bought_at": at, "name": "BLUE", "kind": "Ball", "lost": None}
    lost |= {"again": "blue", "once_more": "blue", "third": "blue"}
    ball = {"hue": "dark_red", "colours": ["blue"], "bought_at": at, "name": "DARK_RED", "kind": "Ball", "lost": lost}
    assert {"__typename": "Query", "balls": [ball]} == seen
