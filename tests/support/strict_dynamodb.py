"""A DynamoDB that refuses what AWS refuses, around a tolerant one: moto's, called directly or by a client.

It answers with conflicts of transactions, throttles by partition, partial batches and the documented limits:
docs.aws.amazon.com/amazondynamodb/latest/developerguide: transaction-apis (conflicts, tokens), bp-partition-key-design
and on-demand-capacity-mode (throughput), ServiceQuotas (sizes); APIReference: API_BatchGetItem, API_BatchWriteItem.

If threads call it, a transaction holds its items for a while, and overlaps are real. If one thread calls it, a seeded
chance decides which calls fail, with a limit on failures in a row: retries must overcome temporary errors.
"""

from __future__ import annotations

import io
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from realtime.aws import retries
from tests.cloudformation import resources
from tests.support import enumerations

Item = Mapping[str, Mapping[str, Any]]
Key = tuple[str, ...]  # a table's or index's name, and key values

KB = 1024
MAX_ITEM_BYTES = 400 * KB
MAX_TRANSACTION_BYTES = 4 * KB * KB
MAX_TRANSACTION_PARTS = 100
MAX_BATCH_WRITES, MAX_BATCH_READS, MAX_BATCH_BYTES = 25, 100, 16 * KB * KB
MAX_EXPRESSION_BYTES = 4 * KB
MAX_PARTITION_KEY_BYTES = 2 * KB
OUT_OF_UNITS = "out of units"
_NO_HEADERS: Any = HeadersDict()
_OF_MANY = frozenset({"transact_write_items", "batch_get_item", "batch_write_item"})  # items, perhaps of many tables
TOKEN_SECONDS = 600  # how long a transaction's token is known after it was made


@dataclass(frozen=True)
class Throughput:
    """Units a second of one partition key and of a whole table or index; units of `burst` seconds may be saved up."""

    writes: float = 1000
    reads: float = 3000
    table_writes: float = 4000  # of a new on-demand table
    table_reads: float = 12_000
    burst: float = 1.0  # AWS saves up to 300 s, but only if it has capacity: do not rely on it


@dataclass(frozen=True)
class Chances:
    """The probabilities of temporary errors, each independent and at most `in_a_row` times one after another."""

    conflict: float = 0.0
    throttle: float = 0.0
    failure: float = 0.0  # an internal error, and nothing was done
    lost: float = 0.0  # done, but no answer comes
    partial: float = 0.0  # of a batch
    in_a_row: int = 3


@dataclass(frozen=True)
class _Table:
    """A table's keys in the template, and its indexes with their hash key and attributes."""

    keys: Key
    indexes: Mapping[str, tuple[str, frozenset[str] | None]]  # None: all attributes


class _Bucket:
    """Units that refill with time; use beyond them is a debt."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._most = rate, rate * burst
        self._level, self._at = self._most, now

    def has_any(self, now: float) -> bool:
        self._level = min(self._most, self._level + self._rate * max(0.0, now - self._at))
        self._at = now
        return self._level > 0

    def take(self, units: float) -> None:
        self._level -= units


class StrictDynamoDB:
    """Checks each call, and lets `perform` do what AWS would; `get` returns an item by what holds its key.

    `met` counts the errors that calls met. `held` (s) is the duration of a transaction, during which other writes meet
    it; a single write takes half as long.
    """

    def __init__(
        self,
        perform: Callable[[str, dict[str, Any]], dict[str, Any]],
        get: Callable[[str, Any], Item | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        held: float = 0.0,
        chance: random.Random | None = None,
        chances: Chances = Chances(),
        throughput: Throughput = Throughput(),
    ) -> None:
        self._perform = perform
        self._get = get
        self._clock = clock
        self._sleep = sleep
        self._held = held
        self.chance = chance or random.Random(0)
        self.chances = chances
        self.throughput = throughput
        self.met: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._writing: dict[Key, str] = {}  # the items of writes in progress, and the kind of each write
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._made: dict[str, float] = {}  # tokens of transactions
        self._row = threading.local()

    def begin_anew(self, chance: random.Random) -> None:
        """Forget all earlier calls, but keep the counts."""
        self.chance = chance
        self._buckets.clear()
        self._made.clear()
        self._row.count = 0

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Make one attempt of a call.

        Raises ClientError as botocore does, or ReadTimeoutError where the answer is lost.
        """
        _check_expressions(operation, request)
        if "TableName" in request or operation in _OF_MANY:  # the chaos has one client for all services
            enumerations.check("dynamodb", operation, request)
        if self._happens(self.chances.failure):
            self._refuse(operation, "InternalServerError")
        match operation:
            case "transact_write_items":
                answer = self._transact(request)
            case "put_item" | "update_item" | "delete_item":
                answer = self._write(operation, request)
            case "batch_write_item":
                answer = self._batch_write(request)
            case "batch_get_item":
                answer = self._batch_get(request)
            case "get_item" | "query" | "scan":
                answer = self._read(operation, request)
            case _:
                return self._perform(operation, request)
        if self._happens(self.chances.lost):
            self.met["lost"] += 1
            raise ReadTimeoutError(endpoint_url=operation)
        self._row.count = 0
        return answer

    # ---- writes ----------------------------------------------------------------------------------------------------

    def _write(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        part = _Part(operation.removesuffix("_item").title(), request)
        with self._lock:
            self._check_size(operation, part)
            if self._writing.get(part.key) == "transaction" or self._happens(self.chances.conflict):
                self._refuse(operation, "TransactionConflictException")
            self._charge_write(operation, part)
            mine = self._mark([part], "write")
        with self._at(mine, self._held / 2):
            return self._do([part], operation, request)

    def _transact(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = "transact_write_items"
        parts = [_Part(kind, write) for each in request["TransactItems"] for kind, write in each.items()]
        if not 0 < len(parts) <= MAX_TRANSACTION_PARTS:
            _invalid(operation, f"a transaction of {len(parts)} parts")
        if len({part.key for part in parts}) < len(parts):
            _invalid(operation, "Transaction request cannot include multiple operations on one item")
        with self._lock:
            token = request.get("ClientRequestToken")
            if token is not None and self._clock() - self._made.get(token, -TOKEN_SECONDS) < TOKEN_SECONDS:
                return {}
            if sum(self._check_size(operation, part) for part in parts) > MAX_TRANSACTION_BYTES:
                _invalid(operation, "a transaction of more than 4 MB")
            meets = {at for at, part in enumerate(parts) if part.key in self._writing}
            if self._happens(self.chances.conflict):
                meets.add(self.chance.randrange(len(parts)))
            if meets:
                self.met["TransactionConflict"] += 1
                _cancel(operation, ["TransactionConflict" if at in meets else "None" for at in range(len(parts))])
            has_room = [self._has_room_to_write(part) for part in parts]
            if not all(has_room) or self._happens(self.chances.throttle):
                self.met["ThrottlingError"] += 1
                _cancel(operation, ["None" if room and not all(has_room) else "ThrottlingError" for room in has_room])
            for part in parts:
                self._take_writes(part, 2)
            mine = self._mark(parts, "transaction")
        with self._at(mine, self._held):
            answer = self._do(parts, operation, request, 2)
        if token is not None:
            self._made[token] = self._clock()
        return answer

    def _batch_write(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = "batch_write_item"
        ((table, writes),) = request["RequestItems"].items()  # ours write to one table at a time
        parts = [
            _Part(kind.removesuffix("Request"), {"TableName": table, **write})
            for each in writes
            for kind, write in each.items()
        ]
        if not 0 < len(parts) <= MAX_BATCH_WRITES:
            _invalid(operation, f"a batch of {len(parts)} writes")
        if len({part.key for part in parts}) < len(parts):
            _invalid(operation, "Provided list of item keys contains duplicates")
        with self._lock:
            if sum(self._check_size(operation, part) for part in parts) > MAX_BATCH_BYTES:
                _invalid(operation, "a batch of more than 16 MB")
            room = {part.key for part in parts if self._has_room_to_write(part)}
            if not room:
                self._refuse(operation, "ProvisionedThroughputExceededException")
            room -= {key for key in room if self._writing.get(key) == "transaction"}
            room = self._some(room)
            done = [at for at, part in enumerate(parts) if part.key in room]
            rest = [each for at, each in enumerate(writes) if at not in done]
            for at in done:
                self._take_writes(parts[at], 1)
            taken = [parts[at] for at in done]
            mine = self._mark(taken, "write")
        if done:
            with self._at(mine, self._held / 2):
                self._do(taken, operation, {"RequestItems": {table: [writes[at] for at in done]}})
        return {"UnprocessedItems": {table: rest} if rest else {}}

    def _do(self, parts: Sequence[_Part], operation: str, request: dict[str, Any], times: int = 1) -> dict[str, Any]:
        """Perform a write, and charge the indexes that show it."""
        with self._lock:
            before = [self._get(part.table, part.names) for part in parts]
            answer = self._perform(operation, request)
            for part, old in zip(parts, before, strict=True):
                self._charge_indexes(part, old, self._get(part.table, part.names), times)
            return answer

    def _mark(self, parts: Sequence[_Part], kind: str) -> list[Key]:
        """Note that a write of items is in progress: single writes wait for one another, without conflict."""
        if not self._held:
            return []
        mine = [part.key for part in parts if part.key not in self._writing]
        self._writing |= dict.fromkeys(mine, kind)
        return mine

    @contextmanager
    def _at(self, keys: Sequence[Key], seconds: float) -> Iterator[None]:
        """Hold items for a while."""
        try:
            if seconds:
                self._sleep(seconds)
            yield
        finally:
            with self._lock:
                for key in keys:
                    del self._writing[key]

    # ---- reads -----------------------------------------------------------------------------------------------------

    def _read(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        table, index = request["TableName"], request.get("IndexName")
        partition = _partition(operation, request)
        buckets = self._buckets_of("reads", f"{table}/{index}" if index else table, partition)
        with self._lock:
            if not self._have_any(buckets) or self._happens(self.chances.throttle):
                self._refuse(operation, "ProvisionedThroughputExceededException")
            answer = self._perform(operation, request)
            rows = [answer["Item"]] if "Item" in answer else answer.get("Items", [])
            units = _read_units(sum(map(item_bytes, rows)), consistent=request.get("ConsistentRead", False))
            for bucket in buckets:
                bucket.take(units)
        return answer

    def _batch_get(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = "batch_get_item"
        ((table, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"]
        by_key = {_key(table, key): key for key in keys}
        if not 0 < len(keys) <= MAX_BATCH_READS:
            _invalid(operation, f"a batch of {len(keys)} reads")
        if len(by_key) < len(keys):
            _invalid(operation, "Provided list of item keys contains duplicates")
        with self._lock:
            room = {key for key in by_key if self._have_any(self._buckets_of("reads", table, key[1]))}
            if not room:
                self._refuse(operation, "ProvisionedThroughputExceededException")
            room = self._some(room)
            size, found = 0, []
            for key in [each for each in by_key if each in room]:
                old = self._get(table, by_key[key])
                size += item_bytes(old or {})
                if size > MAX_BATCH_BYTES:
                    room.discard(key)  # and so all that follow
                    continue
                found.append(by_key[key])
                for bucket in self._buckets_of("reads", table, key[1]):
                    bucket.take(_read_units(item_bytes(old or {}), consistent=wanted.get("ConsistentRead", False)))
            answer = self._perform(operation, {"RequestItems": {table: {**wanted, "Keys": found}}})
        rest = [key for name, key in by_key.items() if name not in room]
        if rest:
            answer = {**answer, "UnprocessedKeys": {table: {**wanted, "Keys": rest}}}
        return answer

    # ---- temporary errors ------------------------------------------------------------------------------------------

    def _happens(self, likelihood: float) -> bool:
        """Say whether a call meets a temporary error now; the row ends when a call succeeds."""
        count = getattr(self._row, "count", 0)
        if not likelihood or count >= self.chances.in_a_row or self.chance.random() >= likelihood:
            return False
        self._row.count = count + 1
        return True

    def _some(self, keys: set[Key]) -> set[Key]:
        """Return the part of a batch that is done, by chance."""
        if len(keys) > 1 and self._happens(self.chances.partial):
            self.met["partial"] += 1
            return set(self.chance.sample(sorted(keys), self.chance.randrange(1, len(keys))))
        return keys

    def _refuse(self, operation: str, code: str) -> NoReturn:
        self.met[code] += 1
        _raise(operation, code, "strict")

    # ---- throughput ------------------------------------------------------------------------------------------------

    def _buckets_of(self, kind: str, name: str, partition: str | None) -> list[_Bucket]:
        """Return the buckets of a table or index, and of one of its partition keys."""
        rates, now = self.throughput, self._clock()
        table_rate = rates.table_writes if kind == "writes" else rates.table_reads
        wanted: list[tuple[tuple[str, ...], float]] = [((kind, name), table_rate)]
        if partition is not None:
            wanted.append(((kind, name, partition), rates.writes if kind == "writes" else rates.reads))
        for key, rate in wanted:
            if key not in self._buckets:
                self._buckets[key] = _Bucket(rate, rates.burst, now)
        return [self._buckets[key] for key, _ in wanted]

    def _have_any(self, buckets: Sequence[_Bucket]) -> bool:
        now = self._clock()
        has = [bucket.has_any(now) for bucket in buckets]
        if not all(has):
            self.met[OUT_OF_UNITS] += 1
        return all(has)

    def _has_room_to_write(self, part: _Part) -> bool:
        """Say whether a table and its indexes can take a write: one that an index cannot take fails in the table."""
        shown = part.request.get("Item") or self._get(part.table, part.names) or {}
        buckets = self._buckets_of("writes", part.table, part.key[1])
        for index, (attribute, _) in _tables()[part.table].indexes.items():
            if attribute in shown:
                buckets += self._buckets_of("writes", f"{part.table}/{index}", _value(shown[attribute]))
        return self._have_any(buckets)

    def _charge_write(self, operation: str, part: _Part) -> None:
        if not self._has_room_to_write(part) or self._happens(self.chances.throttle):
            self._refuse(operation, "ProvisionedThroughputExceededException")
        self._take_writes(part, 1)

    def _take_writes(self, part: _Part, times: int) -> None:
        """Take the units of the larger of the item as it was and as it will be."""
        size = max(item_bytes(self._get(part.table, part.names) or {}), part.size())
        for bucket in self._buckets_of("writes", part.table, part.key[1]):
            bucket.take(times * _write_units(size))

    def _charge_indexes(self, part: _Part, old: Item | None, new: Item | None, times: int) -> None:
        for index, (attribute, projected) in _tables()[part.table].indexes.items():
            shown = [_projected(image, attribute, projected) for image in (old, new)]
            if shown[0] == shown[1]:
                continue
            for image in shown:
                if image is not None:  # another key is a delete and a put; the same key, one update
                    for bucket in self._buckets_of("writes", f"{part.table}/{index}", _value(image[attribute])):
                        bucket.take(times * _write_units(item_bytes(image)))
                    if None not in shown and shown[0][attribute] == shown[1][attribute]:  # type: ignore[index]
                        break

    def _check_size(self, operation: str, part: _Part) -> int:
        """Return the size of an item after a write; for an update, at most: as if it removed nothing."""
        size = part.size()
        if part.kind == "Update":
            size += item_bytes(self._get(part.table, part.names) or {})
        if size > MAX_ITEM_BYTES:
            _invalid(operation, "Item size has exceeded the maximum allowed size")
        return size


class _Part:
    """One write of one item: a request by itself, or a part of a transaction or batch."""

    def __init__(self, kind: str, request: Mapping[str, Any]) -> None:
        self.kind = kind  # Put, Update or Delete
        self.request = request
        self.table: str = request["TableName"]
        self.names: Item = request.get("Item") or request["Key"]
        self.key = _key(self.table, self.names)

    def size(self) -> int:
        """Return the size of the written values, in bytes."""
        written = self.request.get("Item") or {**self.request["Key"], **self._values()}
        return item_bytes(written)

    def _values(self) -> Item:
        """Return the values that an update may store."""
        values: Item = self.request.get("ExpressionAttributeValues", {})
        stored, _, _ = self.request.get("UpdateExpression", "").partition(" DELETE ")
        return {name: value for name, value in values.items() if re.search(rf"{name}\b", stored)}


# ---- a client around it --------------------------------------------------------------------------------------------


class Client:
    """Acts like a client of `aws.client`, but without botocore and HTTP: it tries again by the same rules."""

    def __init__(
        self, call: Callable[[str, dict[str, Any]], dict[str, Any]], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._call = call
        self._sleep = sleep

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        return lambda **request: self.make(operation, request)

    def make(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Make a call, again and again as long as botocore would."""
        sent: dict[str, Any] = {"context": {}, "body": b'"ClientRequestToken": "first"'}
        sent["body"] = retries._TOKEN.sub(rb'\g<1>%032x"' % random.getrandbits(128), sent["body"])
        retries.begin(sent["context"])
        while True:
            if operation == "transact_write_items":
                request["ClientRequestToken"] = sent["body"].decode()
            try:
                return self._call(operation, request)
            except ClientError as error:
                problem: Exception = error
                status = 500 if error.response["Error"]["Code"] == "InternalServerError" else 400
                http = AWSResponse("", status, _NO_HEADERS, None)
                seconds = retries.again(sent, (http, dict(error.response)), None)
            except BotoCoreError as error:
                problem = error
                seconds = retries.again(sent, None, error)
            if seconds is None:
                raise problem
            self._sleep(seconds)


class Transport:
    """Replaces the HTTP session of a botocore client: all of the client is real, and no socket is opened."""

    def __init__(self, strict: StrictDynamoDB) -> None:
        self._strict = strict
        self.sent = 0

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        self.sent += 1
        target: Any = request.headers["X-Amz-Target"]
        body: Any = request.body
        operation = xform_name(target.decode().partition(".")[2])
        try:
            status, answer = 200, self._strict.call(operation, json.loads(body))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = 500 if code == "InternalServerError" else 400
            answer = {**error.response, "__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "strict"}
        shown = {name: value for name, value in answer.items() if name not in ("ResponseMetadata", "Error")}
        return AWSResponse(request.url, status, _NO_HEADERS, _Raw(json.dumps(shown).encode()))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class _Raw(io.BytesIO):
    """The body from which botocore reads an answer."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def attach(client: Any, strict: StrictDynamoDB) -> Transport:
    """Let a botocore client of DynamoDB call this one, and neither AWS nor moto."""
    from moto.core.models import botocore_stubber  # noqa: PLC0415  # where moto is not used, it need not be loaded

    transport = Transport(strict)
    client.meta.events.unregister("before-send", botocore_stubber)
    client._endpoint.http_session = transport
    return transport


# ---- sizes, keys, units --------------------------------------------------------------------------------------------


def item_bytes(item: Item) -> int:
    """Return an item's size as DynamoDB counts it: names and values. …/developerguide/CapacityUnitCalculations.html"""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return (len(content.lstrip("-").strip("0")) + 1) // 2 + 1
        case "SS":
            return sum(len(each.encode()) for each in content)
        case _:
            return 1


def _write_units(size: int) -> int:
    return max(1, -(-size // KB))


def _read_units(size: int, *, consistent: bool) -> float:
    return max(1, -(-size // (4 * KB))) * (1.0 if consistent else 0.5)


@cache
def _tables() -> dict[str, _Table]:
    found = {}
    for name, properties in resources("AWS::DynamoDB::Table").items():
        keys = tuple(key["AttributeName"] for key in properties["KeySchema"])
        indexes: dict[str, tuple[str, frozenset[str] | None]] = {}
        for index in properties.get("GlobalSecondaryIndexes", ()):
            schema = [key["AttributeName"] for key in index["KeySchema"]]
            shown = index["Projection"].get("NonKeyAttributes", ())
            is_all = index["Projection"]["ProjectionType"] == "ALL"
            indexes[index["IndexName"]] = (schema[0], None if is_all else frozenset({*keys, *schema, *shown}))
        found[name] = _Table(keys, indexes)
    return found


def _projected(image: Item | None, attribute: str, names: frozenset[str] | None) -> Item | None:
    if image is None or attribute not in image:
        return None
    return {name: value for name, value in image.items() if names is None or name in names}


def _value(value: Mapping[str, Any]) -> str:
    return str(next(iter(value.values())))


def _key(table: str, item: Item) -> Key:
    return (table, *(_value(item[name]) for name in _tables()[table].keys))


def _partition(operation: str, request: Mapping[str, Any]) -> str | None:
    """Return the partition key of a read; None for a scan, which reads all keys."""
    table = _tables()[request["TableName"]]
    if operation == "get_item":
        return _value(request["Key"][table.keys[0]])
    if operation == "scan":
        return None
    name = table.indexes[request["IndexName"]][0] if "IndexName" in request else table.keys[0]
    found = re.search(rf"\b{name} = (:\w+)", request["KeyConditionExpression"])
    assert found, f"not by {name}: {request['KeyConditionExpression']}"
    return _value(request["ExpressionAttributeValues"][found[1]])


# ---- refusals ------------------------------------------------------------------------------------------------------


def _check_expressions(operation: str, request: Mapping[str, Any]) -> None:
    for name, value in request.items():
        if name.endswith("Expression") and len(value.encode()) > MAX_EXPRESSION_BYTES:
            _invalid(operation, f"{name} of more than 4 KB")
    for first, last in re.findall(r"BETWEEN (:\w+) AND (:\w+)", request.get("KeyConditionExpression", "")):
        values = request["ExpressionAttributeValues"]
        if _value(values[first]) > _value(values[last]):
            _invalid(operation, "The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
    if (
        operation in {"get_item", "query"}
        and len((_partition(operation, request) or "").encode()) > MAX_PARTITION_KEY_BYTES
    ):
        _invalid(operation, "Size of hashkey has exceeded the maximum size limit of 2048 bytes")


def _invalid(operation: str, why: str) -> NoReturn:
    _raise(operation, "ValidationException", why)


def _cancel(operation: str, reasons: Sequence[str]) -> NoReturn:
    _raise(
        operation,
        "TransactionCanceledException",
        "Transaction cancelled",
        CancellationReasons=[{"Code": reason} for reason in reasons],
    )


def _raise(operation: str, code: str, message: str, **more: Any) -> NoReturn:
    response: Any = {"Error": {"Code": code, "Message": message}, **more}
    raise ClientError(response, operation)
