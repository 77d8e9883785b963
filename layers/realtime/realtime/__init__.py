"""The real-time service, one module for each concept. A Lambda function and its module here have the same name.

Read them in the order in which an event travels:

A client connects         connect → handshake, tokens, tables/registry;  a refused client: strangers, farewell;  at a
                          user's limit: eviction
A client sends a frame    default → frame_limits → rate_limit, tables/rates;  watching → watch_state, tables/watched;
                          snapshots (of everyone, or of watched users), replay, watched_states → tables/connections,
                          tables/outbox, tables/views;  statuses, occupancy → tables/tally, inbox
A backend sends an event  backend_events (the schemas) → ingest → tables/calls, tables/outbox
A user's state changes    announce → presence (which messages follow) → tables/outbox
A backend asks            admin → tables/census;  revocation (the end of a user's connections, for ingest too)
Later checks              deadlines (at a set time) → acknowledgement_checks
                          sweep (every minute) → session_checks → liveness (who is alive)
An event goes out         broadcast → records (as entries), batch (which events a connection gets), packing (several
                          in a frame), staleness (of presence), backlog (what is left to post), recipients → hiding (who
                          is blocked), tables/blocks → posting → lateness (connections that are behind: late serves or
                          closes them), forgetting (connections that are gone), posted (what was posted, for positions)

Shared by them            audiences, messages, ids, positions (what a client has received of each audience), text (which
                          characters may be stored), refusals, errors, settings, log, trace (what began the work),
                          metrics, dead_letters, cached_keys, snapstart, invocation (a function's ids, time and answer),
                          threads (which keep both), orders (between our functions)

contract/                 what clients and backends are promised, as types; loaded by no function

tables/                   the DynamoDB tables: connections, sessions, watched, users, membership, blocks, calls, census,
                          outbox, entries, acknowledgements, served, views, tally, stragglers, rates, posted, budget,
                          transactions
aws/                      the other AWS services: the queues, the bus, the token keys; clients and retries for all
posting/                  the client of API Gateway's management API, which posts frames to connections

Only these three folders call AWS, and they translate its errors. `bootstrap` makes the objects that a Lambda function
uses when the function first needs them.
"""
