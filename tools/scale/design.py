"""Our own figures: what a handshake, a change and a post take, from the benchmarks, and the design's levers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from operate import cost
from operate.cost_clients import MEASURED_WATCH, library
from tools import results

VCPU_MB = 1769
"""Lambda gives one processor for so much memory: docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html."""


@dataclass(frozen=True)
class Design:
    """Parameters of a deployment and of its clients, and what was measured of it."""

    # measured
    connect_writes: float
    """Write units of a user's coming online, without the outbox."""
    watch_writes: float
    """Write units for each user whom a connection begins to watch, and as many to forget it."""
    connect_cpu_ms: float
    """Of one core."""
    start_cpu_ms: float
    """A cold start of `connect`."""
    posts_a_core: float
    """Posts a second of one core, in the real handler."""
    silence_s: float
    """After which our client pings."""
    first_pause_s: float
    longest_pause_s: float

    # levers
    audience_shards: int = 1
    sockets: int = 1
    """A user's: one for all endpoints, or one for each."""
    watched: float = 20
    """Listeners that a client watches."""
    batch: bool = True
    """Whether a frame may hold several states (`batch=true`): at most 32 KB."""
    connect_share: float = 0.05
    message_share: float = 0.30
    """Of the account's requests, for handshakes and for clients' messages; posts have the rest."""
    live_share: float = 5 / 6
    """Of these two, what the stage `live` has (LiveShare=most; else a third); the four endpoints have the rest."""
    wide_share: float = 0.9
    """Of the posts, what events for everybody may take: calls and notifications come through beside them."""
    lease_s: float = 90
    lane_hold_s: float = 0.25
    """How long a connection that hangs may hold its place in a lane."""
    lateness_s: float = 10
    """Beyond which presence is no longer posted state by state."""
    stream_batch: int = 1_000
    """Changes that one pass of the wide lane takes at most."""

    # assumed: nobody has measured them on AWS
    listeners: float = 0.1
    session_s: float = 1_800
    table_ms: float = 10
    """A request to DynamoDB."""
    post_ms: float = 15
    """A post, until it is answered."""
    posts_in_flight: int = 128
    """In one instance, at most."""
    memory_mb: float = 512
    poll_s: float = 0.25
    """Lambda reads a stream four times a second."""
    busiest_table: float = 0.5
    """The share of a handshake's writes that goes to one table: Connections and Users have about half each."""
    connection_bytes: float = 300
    """What the sweep reads of a connection each minute."""

    @property
    def connect_ms(self) -> float:
        """Return how long a warm invocation of `connect` takes: its CPU at 512 MB, and one transaction."""
        return self.connect_cpu_ms * VCPU_MB / self.memory_mb + self.table_ms

    @property
    def busiest_writes(self) -> float:
        """Return the write units of a connection's beginning on the table that takes most, which is Connections."""
        return self.connect_writes * self.busiest_table + self.watch_writes * self.watched

    @property
    def posts_share(self) -> float:
        """Return the posts' share of the account's requests."""
        return 1 - self.connect_share - self.message_share

    @property
    def stages_share(self) -> float:
        """Return what the stages of the clients' sockets have of the requests for handshakes and messages."""
        return self.live_share if self.sockets == 1 else 1 - self.live_share

    @property
    def messages_share(self) -> float:
        """Return the share of the account's requests that messages of these clients may take."""
        return self.message_share * self.stages_share

    @property
    def gets_a_second(self) -> float:
        """Return how often the sweep asks about one silent connection: once a ping, if its lease lapses before."""
        return 1 / max(self.lease_s, self.silence_s) if self.silence_s > self.lease_s else 0.0


def measured(figures: Mapping[str, float] | None = None, costs: Mapping[str, cost.Cost] | None = None) -> Design:
    """Return the design with the latest figures of bench/results.json and of the meter."""
    figures = results.load() if figures is None else figures
    costs = cost.read() if costs is None else costs
    return Design(
        connect_writes=costs["online"].writes - 1,  # one item in the outbox
        watch_writes=(costs["watching_begin"].writes - costs["one_begin"].writes) / MEASURED_WATCH,
        connect_cpu_ms=figures["warm.connect_us"] / 1000,
        start_cpu_ms=figures["cold_start.connect_ms"],
        posts_a_core=figures["handler.100000"],
        silence_s=library("PING_AFTER") / 1000,
        first_pause_s=library("FIRST_PAUSE") / 1000,
        longest_pause_s=library("LONGEST_PAUSE") / 1000,
    )
