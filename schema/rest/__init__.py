"""REST for the clients that exist: a table of endpoints over the GraphQL schema, with the envelope they know."""
