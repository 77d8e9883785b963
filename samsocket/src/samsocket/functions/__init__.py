"""Runs the functions of a template from their folders, in processes that stay warm.

`pool` keeps the processes and hands them invocations over `runtime_api`, the protocol by which Lambda's own runtimes
get theirs. `python_worker.py` and `node_worker.mjs` speak it; a custom runtime's `bootstrap` does already.
"""
