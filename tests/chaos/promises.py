"""The promises that hold in spite of all failures, checked after a run with the clients' messages and the tables."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from realtime import audiences
from realtime.ids import event_time_ms
from realtime.messages import PART_OF
from realtime.positions import floor
from realtime.tables.dynamodb import plain
from realtime.tables.entries import Entry
from realtime.tables.events import stragglers_key
from tests.chaos.client import Client, Recorded
from tests.support.stream_mapping import Stream, between

if TYPE_CHECKING:
    from tests.chaos.scenario import Scenario


def check(scenario: Scenario) -> None:
    """Raise AssertionError at a promise that was broken."""
    if scenario.runtime.surprises:
        raise AssertionError("the function failed") from scenario.runtime.surprises[0]
    by_audience: dict[str, list[Recorded]] = defaultdict(list)
    for each in scenario.runtime.recorded:
        by_audience[each.entry.audience].append(each)
    for client in scenario.clients.values():
        _check_heard(scenario, client, by_audience)
    _check_forgotten(scenario)
    _check_stragglers(scenario)
    _check_sent_away(scenario)
    _check_resumed(scenario, by_audience)


def check_dead_letters(scenario: Scenario, failures: Iterable[dict[str, Any]]) -> None:
    """Every unreadable record ends in the dead-letter queue, and no other record does.

    While the right to post to a stage is missing, its records end there too, with those that grew too old behind them;
    a redrive brings them back.
    """
    given_up = set(keys_of(scenario.runtime.stream, failures))
    assert scenario.runtime.poisons <= given_up | set(scenario.runtime.dead_letters)
    assert scenario.runtime.poisons >= set(scenario.runtime.dead_letters)
    if not scenario.runtime.api.forbidden:
        assert not given_up


def keys_of(stream: Stream, failures: Iterable[dict[str, Any]]) -> list[str]:
    """Return the audience and id of each record that was given up."""
    return [
        "/".join(each["S"] for each in record["dynamodb"]["Keys"].values())
        for failure in failures
        for record in between(stream, failure)
    ]


def _check_heard(scenario: Scenario, client: Client, by_audience: dict[str, list[Recorded]]) -> None:
    """A connection hears its own messages, in order and nothing else; if it does not end, it hears all of them."""
    who = f"{client.connection} {client.socket}"
    messages = [each for each in client.messages if each["type"] != "reconnect"]
    heard: dict[str, dict[str, Any]] = {}
    for message in messages:
        message.pop("position", None)
        assert heard.setdefault(message["id"], message) == message, f"two messages with one id: {who}"
    # Feed and presence each have a message about a change.
    contents = [(message["type"], message["data"]["n"]) for message in heard.values()]
    assert len(contents) == len(set(contents)), f"one message with two ids: {who}"
    names = [*client.audiences, audiences.direct(client.connection.connection_id)]
    meant = {each.entry.event_id for name in names for each in by_audience[name] if client.wants(each.entry)}
    assert heard.keys() <= meant, f"heard what is not for it: {who}"
    for name in names:
        _check_order(scenario, client, by_audience[name], list(heard), who)


def _check_order(scenario: Scenario, client: Client, recorded: list[Recorded], heard: list[str], who: str) -> None:
    """Within an audience, messages come in order and without a gap; a connection that lives hears all of them.

    Records that were given up and redriven come late. So may states that were left out for a later state of a user.
    """
    entries = {each.entry.event_id: each.entry for each in recorded}
    ids = list(entries)
    late = {each.entry.event_id for each in recorded if each.key in scenario.redriven}
    late |= set(_replaceable(entries.values()))
    in_order = [name for name in heard if name in entries and name not in late]
    assert in_order == sorted(in_order, key=ids.index), f"out of order: {who}: {in_order} of {ids}"
    due = [each.entry for each in recorded if each.at >= client.since and client.wants(each.entry)]
    due = list(_without_replaced(due, heard))
    is_alive = client.socket.state == "open" and scenario.is_registered(client)
    if not is_alive:
        last = max((ids.index(name) for name in in_order), default=-1)
        due = [each for each in due if ids.index(each.event_id) < last and each.event_id not in late]
    missed = [entry for entry in due if entry.event_id not in heard]
    assert not missed, f"missed: {who}: {missed}, heard {in_order} of {ids}"


def _check_forgotten(scenario: Scenario) -> None:
    """A connection found gone is forgotten; a live one is not, unless it could be neither served nor closed."""
    rows = [plain(row) for row in scenario.runtime.tables.all("ConnectionsTable")]
    keys = [(row["connection_id"], row["audience"]) for row in rows]  # of watched users the other way round
    stored = {connection_id if audiences.is_watching(one) else one for one, connection_id in keys}
    users = [plain(row) for row in scenario.runtime.tables.all("UsersTable")]
    known = {connection_id for user in users for connection_id in user.get("connection_ids", ())}
    assert stored == known, f"stored alone: {stored - known}, known alone: {known - stored}"
    for connection_id, client in scenario.clients.items():
        is_young = time.time() - client.connection.connected_at_ms / 1000 < 30
        if client.socket.was_missed and not is_young:
            assert connection_id not in stored, f"gone, and not forgotten: {client.socket}"
        if client.socket.state == "open":  # so are the young ones that opened late
            assert connection_id in stored or connection_id in scenario.runtime.given_up, f"forgotten: {client.socket}"


def _check_stragglers(scenario: Scenario) -> None:
    """No connection that is open is still behind."""
    item = scenario.runtime.tables.get("EventsTable", stragglers_key())
    behind = plain(item) if item else {}
    ids = {mark.partition(" ")[0] for mark in behind.get("late", ())} | set(behind.get("skipped", ()))
    assert not [each for each in ids if scenario.clients[each].socket.state == "open"]


def _check_resumed(scenario: Scenario, by_audience: dict[str, list[Recorded]]) -> None:
    """A client whose connection ended for any reason gets the missed messages when it comes back: late, but all."""
    ended = [each for each in scenario.clients.values() if each.socket.state != "open" and len(each.messages)]
    ended = [each for each in ended if all(map(audiences.log_of, each.audiences))]  # who watches gets states instead
    for client in ended[:20]:
        names = {each.entry.event_id for name in client.audiences for each in by_audience[name]}
        heard = {each["id"] for each in client.messages if each.get("id") in names}
        again = scenario.come_back(client)
        began_ms = event_time_ms(min(names)) if names else 0  # a young client only claims that it connects later
        position = floor(min(began_ms, client.connection.connected_at_ms), int(time.time() * 1000))
        for message in client.messages:
            position |= message.get("position", {})
        complete = False
        while not complete:
            resumed = scenario.send(again, "resume", position=position)
            assert resumed["data"]["recovered"], resumed
            position |= resumed["position"]
            complete = resumed["data"]["complete"]
        recorded = [each for name in client.audiences for each in by_audience[name] if each.at >= client.since]
        due = [each.entry for each in recorded if client.wants(each.entry)]
        due = list(_without_replaced(due, heard))
        told = heard | {each["id"] for each in again.messages}
        missed = [each for each in due if each.event_id not in told]
        assert not missed, f"never told: {client.connection}: {missed}, heard {sorted(heard)}"


def _check_sent_away(scenario: Scenario) -> None:
    """A live connection that was forgotten gets an error, or a request to reconnect and a close, at its next frame."""
    told = {each.entry.audience for each in scenario.runtime.recorded}
    strays = [scenario.clients[connection_id] for connection_id in scenario.runtime.given_up]
    strays = [client for client in strays if client.socket.state == "open" and not scenario.is_registered(client)]
    for client in strays:
        is_told = audiences.direct(client.connection.connection_id) in told
        assert scenario.send(client, "ping")["type"] == ("error" if is_told else "reconnect")
        scenario.runtime.drain()
        assert client.connection.connection_id in scenario.runtime.farewells or is_told


def _without_replaced(entries: Collection[Entry], heard: Collection[str]) -> Iterator[Entry]:
    """Yield entries without the states of a user for which a later one was heard."""
    replaced: set[tuple[str, str]] = set()
    for entry in reversed(list(entries)):
        state = (PART_OF.get(entry.kind, ""), entry.subject or "")
        if entry.event_id in heard or state not in replaced:
            yield entry
        if entry.subject is not None:
            replaced.add(state)


def _replaceable(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the ids of states of a user that a later one follows.

    `broadcast` leaves them out, but they may still come if the batch is tried again in other parts: clients know the
    order of a user's states from their `version`.
    """
    latest: dict[tuple[str, str], str] = {}
    for entry in entries:
        if entry.subject is not None:
            state = (PART_OF[entry.kind], entry.subject)
            if state in latest:
                yield latest[state]
            latest[state] = entry.event_id
