"""Posting to connections: what is sent, how fast, and what each answer means.

`api` makes a `Poster`, which takes deliveries (`delivery`). The Poster paces requests (`pacing`, `shared_quota`,
`uses`), signs them (`signing`), makes them (`http_pool`) and lets `progress` decide what follows from each answer.
`rights` says whose fault a 403 is, and `lane` which deliveries hold up the others.
"""
