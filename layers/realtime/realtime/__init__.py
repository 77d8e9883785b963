"""The real-time service, one module for each concept. A Lambda function and its module here have the same name.

Read them in the order in which an event travels:

A client connects         connect → tokens, tables/registry;  a refused client: farewell
A client sends a frame    default → rate_limit, watching, snapshots, replay → tables/connections, tables/outbox
A backend sends an event  backend_events (the schemas) → ingest → tables/calls, tables/outbox
A user's state changes    announce → presence (which messages follow) → tables/outbox
Later checks              deadlines (at a set time) → acknowledgement_checks;  sweep (every minute)
An event goes out         broadcast → batch (which events a connection gets), backlog (what is left to post) → posting
                          → forgetting (connections that are gone)

Shared by them            audiences, messages, ids, text (which characters may be stored), refusals, errors, settings,
                          log, dead_letters, cached_keys, snapstart, invocation (a function's time and answer)

tables/                   the DynamoDB tables: connections, users, calls, outbox, acknowledgements, transactions
aws/                      the other AWS services: the queues, the bus, the token keys; clients and retries for all
posting/                  the client of API Gateway's management API, which posts frames to connections

Only these three folders call AWS, and they translate its errors. `bootstrap` makes the objects that a Lambda function
uses when the function first needs them.
"""
