"""`python -m tools.scale`: the tables for other quotas and settings than the defaults, printed."""

from __future__ import annotations

import argparse
from dataclasses import replace

from tools.scale import report
from tools.scale.design import measured
from tools.scale.quotas import QUOTAS, with_defaults
from tools.scale.tables import limit_table


def main() -> None:
    """Print what each workload takes, and its first limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    for key in ("requests", "connects", "concurrency", "table_writes"):
        parser.add_argument(f"--{key.replace('_', '-')}", type=float, default=QUOTAS[key].default, help="a quota")
    parser.add_argument("--sockets", type=int, default=1, help="of a user")
    parser.add_argument("--shards", type=int, default=1, help="AudienceShards")
    parser.add_argument("--watched", type=float, default=20, help="listeners that a client watches")
    parser.add_argument("--no-batch", action="store_true", help="clients without batch=true")
    given = parser.parse_args()
    quotas = with_defaults(
        requests=given.requests,
        connects=given.connects,
        concurrency=given.concurrency,
        table_writes=given.table_writes,
    )
    design = replace(
        measured(),
        sockets=given.sockets,
        live_share=5 / 6 if given.sockets == 1 else 1 / 3,
        audience_shards=given.shards,
        watched=given.watched,
        batch=not given.no_batch,
    )
    print(report.outcome_table(report.run(design, quotas)), limit_table(design, quotas), sep="\n\n")


if __name__ == "__main__":
    main()
