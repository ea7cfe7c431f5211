"""The rows of the endpoint table, a module for each tag; `schema.rest.endpoints` puts them together."""
