"""One client posts to a server for some seconds, and prints how many posts it made and how much CPU they took.

Run by bench/engine.py as `python engine_clients.py CLIENT URL CERTIFICATE SECONDS`. Each posts the same 200 bytes,
signed with the same credentials, to a new connection id each time, and each may keep its connections.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

WARM_UP_SECONDS = 0.7
AT_ONCE = 32
BODY = b'{"type":"listener_online","data":{"user_id":123,"username":"jane_smith"}}'.ljust(200)
REGION = "us-east-1"


class Frozen(NamedTuple):
    """Credentials as a function's role has them."""

    access_key: str = "ASIAEXAMPLEEXAMPLE12"
    secret_key: str = "x" * 40
    token: str = "t" * 900


def connection_ids() -> Iterator[str]:
    """Yield ids such as API Gateway's."""
    return (f"L0SM9c{number:09d}=" for number in itertools.count())


class Clock:
    """Counts posts once the client is warm."""

    def __init__(self, seconds: float) -> None:
        now = time.monotonic()
        self.begins = now + WARM_UP_SECONDS
        self.ends = self.begins + seconds
        self.posts = 0
        self._at_begin: tuple[float, float] | None = None

    def posted(self) -> bool:
        """Count a post; return whether to go on."""
        now = time.monotonic()
        if self._at_begin is None:
            if now >= self.begins:
                self._at_begin = now, _cpu_seconds()
        else:
            self.posts += 1
        return now < self.ends

    def report(self) -> dict[str, float]:
        """Return posts a second by the clock, and µs of CPU a post."""
        assert self._at_begin is not None
        began, cpu_began = self._at_begin
        seconds, cpu = time.monotonic() - began, _cpu_seconds() - cpu_began
        return {"wall": self.posts / seconds, "cpu_us": cpu / self.posts * 1e6}


def ours(url: str, certificate: str, clock: Clock) -> None:
    """Post with our engine."""
    from realtime.posting.api import make_poster
    from realtime.posting.delivery import Delivery, Frame, Outcome
    from realtime.posting.pacing import TokenBucket

    quota = TokenBucket(1_000_000, burst=500_000)
    poster = make_poster(url, REGION, Frozen, quota=quota, max_in_flight=AT_ONCE, ca_bundle=certificate)
    frames = [Frame(BODY)]
    deliveries = (Delivery("feed", each, frames, connected_at_s=0.0) for each in connection_ids())
    for result in poster.deliver(deliveries, until=clock.ends + 60):
        assert result.outcome is Outcome.DELIVERED, result
        if not clock.posted():
            return


def _of_client(url: str, certificate: str) -> dict[str, Any]:
    """Return the arguments for a client of the management API, without its Config."""
    return {
        "service_name": "apigatewaymanagementapi",
        "endpoint_url": f"{url}/feed",
        "region_name": REGION,
        "verify": certificate,
        "aws_access_key_id": Frozen().access_key,
        "aws_secret_access_key": Frozen().secret_key,
        "aws_session_token": Frozen().token,
    }


def _boto3_client(url: str, certificate: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(**_of_client(url, certificate), config=Config(max_pool_connections=AT_ONCE))


def boto3(url: str, certificate: str, clock: Clock) -> None:
    """Post with boto3, one after the other."""
    client = _boto3_client(url, certificate)
    for each in connection_ids():
        client.post_to_connection(ConnectionId=each, Data=BODY)
        if not clock.posted():
            return


def boto3_threads(url: str, certificate: str, clock: Clock) -> None:
    """Post with boto3 in threads that share a client."""
    client = _boto3_client(url, certificate)
    ids = connection_ids()
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                connection_id = next(ids)
            client.post_to_connection(ConnectionId=connection_id, Data=BODY)
            with lock:
                if not clock.posted():
                    return

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _at_once(post: Callable[[str], Any], clock: Clock) -> None:
    ids = connection_ids()

    async def work() -> None:
        for each in ids:
            await post(each)
            if not clock.posted():
                return

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def aiobotocore(url: str, certificate: str, clock: Clock) -> None:
    """Post with aiobotocore, the asynchronous botocore."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    async def main() -> None:
        config = AioConfig(max_pool_connections=AT_ONCE)
        async with get_session().create_client(**_of_client(url, certificate), config=config) as client:
            await _at_once(lambda each: client.post_to_connection(ConnectionId=each, Data=BODY), clock)

    asyncio.run(main())


def aiohttp(url: str, certificate: str, clock: Clock) -> None:
    """Post with aiohttp and our signatures."""
    import ssl
    from hashlib import sha256

    from aiohttp import ClientSession, TCPConnector
    from yarl import URL

    from realtime.posting.api import Api

    api = Api(url)
    signer = api.signer(REGION, Frozen)
    body_sha256 = sha256(BODY).hexdigest()

    @asynccontextmanager
    async def session() -> AsyncIterator[ClientSession]:
        tls = ssl.create_default_context(cafile=certificate)
        async with ClientSession(connector=TCPConnector(limit=AT_ONCE, ssl=tls)) as session:
            yield session

    async def main() -> None:
        async with session() as client:

            async def post(connection_id: str) -> None:
                sent, signed = api.paths("feed", connection_id)
                lines = signer.headers("POST", signed, body_sha256, time.time())
                headers = dict(line.split(": ", 1) for line in lines)
                async with client.post(URL(api.origin + sent, encoded=True), data=BODY, headers=headers) as answer:
                    assert answer.status == 200
                    await answer.read()

            await _at_once(post, clock)

    asyncio.run(main())


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


CLIENTS: dict[str, Callable[[str, str, Clock], None]] = {
    client.__name__: client for client in (ours, boto3, boto3_threads, aiobotocore, aiohttp)
}

if __name__ == "__main__":
    client, url, certificate, seconds = sys.argv[1:]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    clock = Clock(float(seconds))
    CLIENTS[client](url, certificate, clock)
    json.dump(clock.report(), sys.stdout)
