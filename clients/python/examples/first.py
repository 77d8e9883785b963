# Prints a user's first call. Usage: python first.py wss://… TOKEN
import asyncio
import sys

from listener_realtime import connect


async def main(url: str, token: str) -> None:
    async with connect(url, lambda anew: token, endpoints=["calls"]) as realtime:
        realtime.on("state", lambda change: print(change.state, change.why))
        async for message in realtime:
            if message["type"] == "call_started":
                print("call", message["data"]["call_id"])
                return


asyncio.run(main(*sys.argv[1:]))
