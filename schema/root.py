"""The one schema: every way in, GraphQL or REST, executes operations of this."""

from schema.build import build

schema = build()
