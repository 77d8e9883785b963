"""What clients and backends are promised, as types: every message, every event of the bus, the claims of a token.

`python -m tools.contract` makes the schemas, the AsyncAPI document, the page docs/protocol.md and the types of the
clients from these types, and from `backend_events`, whose types ingest validates with. Docstrings and descriptions here
are what readers of these see.

The service loads none of this: its modules import these types for mypy alone, which checks what they build.

A TypedDict has all the keys that we send; a later version may add some. A Struct also passes on keys of backends.
"""
