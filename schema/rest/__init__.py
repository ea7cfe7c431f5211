"""REST for the clients that exist: a table of endpoints over the GraphQL schema, with the envelope they know.

- The table: `rows` says what a row can say, `table/` has the rows, `endpoints` all of them; `facts` and `terms` are
  what follows of a row.
- A call: `serving` makes routes; `reading` and `bodies` read the request, `operations` runs the stored document,
  `looks` and `envelope` show the answer, `statuses` has its status; `sites` and `conditions` judge headers.
- What GraphQL cannot carry: `uploads`, `snapshots`. Clients from before: `legacy`, `agents`.
- The description: `shapes` (what is asked and answered, in `json_schema`; of Python types by `structs`, of variables by
  `constraints`), `asking` and `telling` (each endpoint), `openapi`, `openapi30`, `examples`, `advice`.
- What holds it to its word: `governance` (the rules), `tracking` (the committed table), `promises` (what clients
  rely on).
"""
