"""The fields of the query root, a module for each subject; each class becomes part of `schema.query.Query`."""
