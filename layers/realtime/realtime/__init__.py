"""What the real-time service means: one module a concept, read in the order in which an event travels.

Inward, from a client:   handshake → tokens → registry → connections, users;  farewells → refusals, management
                         frames → rate_limit, interest, snapshots, replay → connections, outbox
Inward, from a backend:  backend_events → ingestion → calls, outbox
Between the two:         announcing → presence (a user's change becomes messages) → outbox;  deadlines, sweeping
Outward, to a client:    fanout → batches (who is due what), management → signing, pacing, wire

Words they share:        audiences, messages, text (the gate for what may be told and stored), ids, errors, settings
Adapters, which alone speak to AWS and translate its errors: connections, users, calls, outbox, transactions, queues,
                         bus, token_keys, management; aws, retries, dynamodb, kept_keys and poison are what they share
`bootstrap` wires them, lazily, one function a Lambda function.
"""
