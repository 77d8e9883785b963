"""Posting to connections: what to send, how fast, and what becomes of each answer.

`api` makes a `Poster`, which takes deliveries (`delivery`). The Poster paces requests (`pacing`), signs them
(`signing`), makes them (`http_pool`) and asks `progress` what each answer means.
"""
