"""A client that comes back after its connection has ended, as docs/clients.md says."""

from __future__ import annotations

from harness.stack import Client, Message


class Resuming:
    """What a client remembers over its connections: its position, and the events that it has received."""

    def __init__(self) -> None:
        self.position: dict[str, str] = {}
        self.heard: dict[str, Message] = {}  # by id
        self.repeated = 0  # messages that an earlier connection had brought: its position should have prevented it
        self.overlapping = 0  # messages that one connection brought twice, as missed and as live
        self.answers: list[Message] = []  # to `resume`

    async def begin(self, client: Client) -> None:
        """Resume on a new connection; on the first one, learn a position."""
        if not self.position:
            self.position |= (await client.pings())["position"]
            return
        complete = False
        while not complete:
            await client.send("resume", position=self.position)
            answer = await client.hears("resumed")
            self.answers.append(answer["data"])
            self.position |= answer["position"]
            complete = answer["data"]["complete"]

    def end(self, client: Client) -> None:
        """Remember what a connection brought; its positions count after those of its answers to `resume`."""
        events = [message for message in client.heard if "id" in message]
        new = {message["id"]: message for message in events}
        self.repeated += len(new.keys() & self.heard.keys())
        self.overlapping += len(events) - len(new)
        self.heard |= new
        for message in client.heard:
            if message["type"] != "resumed":
                self.position |= message.get("position", {})
