"""Writes the latest measured figures from bench/results.json into docs/benchmarks.md and README.md."""

from __future__ import annotations

from collections.abc import Mapping

from harness.cold_start import FIRST
from operate.state import ROOT
from tools import marks, results

TABLE_PATH = ROOT / "docs" / "benchmarks.md"
SENTENCE_PATH = ROOT / "README.md"
PROGRAM = "make bench"


def table(figures: Mapping[str, float]) -> str:
    """Return the table of docs/benchmarks.md; each ratio is to an alternative measured in the same run."""
    threads, wrk = figures["engine.ours_to_boto3_threads"], figures["engine.ours_to_wrk"]
    connect = figures["cold_start.connect"]
    others = [figures[f"cold_start.{function}"] for function in FIRST if function != "connect"]
    rows = {
        "signed posts over TLS, one core": (
            f"{figures['engine.ours']:,.0f}/s",
            f"{threads:.0f} × boto3 in 32 threads; {wrk:.2f} × wrk, which signs nothing",
        ),
        "one event through `broadcast` to 100,000 connections, 1 % of them gone and forgotten, one core": (
            f"{figures['handler.100000']:,.0f} connections/s",
            f"{figures['handler.100000_megabytes']:.0f} MB",
        ),
        "CPU of a cold start": (
            f"`connect`, which verifies tokens: {connect:.2f}; the others: {min(others):.2f} to {max(others):.2f}",
            "× `import boto3` and one client",
        ),
        "CPU of a warm invocation": (
            f"ping: {figures['warm.ping']:.2f}; `connect`: {figures['warm.connect']:.2f}",
            "× the bare boto3 calls that it makes",
        ),
        "PutEvents to client on the embedded stack, p50": (
            f"{figures['end_to_end.p50']:.2f}",
            "× a bare chain: a queue and two functions",
        ),
        "functions and layer, unpacked": (f"{figures['artifact.megabytes']:.0f} MB", "of 250 MB"),
    }
    lines = [f"| {what} | {measured} | {beside} |" for what, (measured, beside) in rows.items()]
    return "\n".join(["| | | |", "| --- | --- | --- |", *lines])


def sentence(figures: Mapping[str, float]) -> str:
    """Return the lines of README.md that name the main figures."""
    return (
        f"One core signs and posts {figures['engine.ours']:,.0f} messages a second, "
        f"{figures['engine.ours_to_boto3_threads']:.0f} × boto3 in 32 threads,\n"
        f"and takes an event to {figures['handler.100000']:,.0f} connections a second "
        "([docs/benchmarks.md](docs/benchmarks.md))."
    )


def write() -> None:
    """Replace the figures of both pages, if everything was measured."""
    figures = results.load()
    marks.write(TABLE_PATH, PROGRAM, table(figures))
    marks.write(SENTENCE_PATH, PROGRAM, sentence(figures))
