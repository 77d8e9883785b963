"""What tests and benchmarks share: a running embedded stack with clients of it, and a fake management API.

It is neither a test nor a benchmark, so that tests and `bench` need nothing of each other.
"""
