"""The contract in the forms that tools read, made from the types in `realtime.contract` and `realtime.backend_events`.

`python -m tools.contract` writes all of them:

    contract/schemas/*.json              JSON Schema (2020-12) of frames, events of the bus and tokens
    contract/asyncapi.yaml               AsyncAPI 3.0: the same with channels and operations
    contract/event-schemas.yaml          a template with schemas for EventBridge's registry
    docs/protocol.md                     a page to read
    clients/typescript/src/messages.js   types for TypeScript
    clients/python/…/messages.py         the types of the Python client
"""
