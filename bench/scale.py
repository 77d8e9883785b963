"""The simulation of ten thousand to ten million connections: it writes docs/scale.md and its picture.

It needs no stack and some seconds. What it computes from is in tools/scale; `bench.scale_check` compares it with the
embedded stack.
"""

from __future__ import annotations

from tools.scale import report


def main() -> None:
    """Simulate, write and print."""
    print(report.write())


if __name__ == "__main__":
    main()
