"""The local twin of API Gateway's WebSocket data plane, for any SAM template.

It reads the API from the template, invokes the functions that were deployed to an emulator, and serves `@connections`.
What it does as API Gateway does, and where it differs, is listed with sources and tests in `docs/conformance.md`.

Follow one message through the modules in this order: `server` (which path is what) → `clients` (the clients of an API)
→ `connection` (one client) → `events` (the event for the function) → `integrations` (its answer; where it is no Lambda
proxy, by `mapping_templates` and `backends`) → `management` (a backend posts to the client). `reading` makes of a
template the `api` that they serve; `reports` tells the `page` what happens. `up` starts all that a template needs:
`installing` and `deployer` prepare it, `functions` runs its code.
"""
