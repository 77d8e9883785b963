"""The local twin of API Gateway's WebSocket data plane, for any SAM template.

It reads the API from the template, invokes the functions that were deployed to an emulator, and serves `@connections`.
What it does as API Gateway does, and where it differs, is listed with sources and tests in `docs/conformance.md`.

Follow one message through the modules in this order: `server` (which path is what) → `connection` (one client) →
`events` (the event for the function) → `integrations` (its answer) → `management` (a backend posts to the client).
"""
