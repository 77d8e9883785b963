"""What the real-time service means: one module a concept, read in the order in which an event travels.

Inward, from a client:   handshake → tokens → connections;  frames → rate_limit → connections
Inward, from a backend:  backend_events → ingestion → outbox
Between the two:         presence (a user's change becomes messages) → outbox
Outward, to a client:    fanout → management → signing

Words they share:        audiences, messages, ids, errors, settings
Adapters, which alone speak to AWS and translate its errors: connections, users, outbox, queues, bus, token_keys,
                         management
`bootstrap` wires them, lazily, one function a Lambda function.
"""
