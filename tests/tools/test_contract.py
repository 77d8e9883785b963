"""The contract's files are those that the types make, valid, and true of what the service accepts and says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import jwt
import pytest
import yaml
from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError

from operate import tokens as signing
from realtime import messages
from realtime.backend_events import EVENT_TYPES, validate
from realtime.contract import from_backends, to_backends, to_clients
from realtime.contract.values import Acknowledgeable, ErrorCode
from realtime.default import FrameHandler, parse_frame
from realtime.errors import AuthFailed, BadRequest, ClientError, InvalidEvent
from realtime.ids import event_time_ms
from realtime.inbox import parse_wanted
from realtime.positions import parse_all
from realtime.statuses import parse_status
from realtime.tokens import Tokens
from realtime.watching import parse_user_ids
from tests import samples
from tests.cloudformation import ROOT
from tests.support import contract as promised
from tools.contract import examples
from tools.contract.__main__ import files
from tools.contract.definition import contract
from tools.contract.schemas import kind_of

FOLDER = ROOT / "contract"
VALIDATE = FOLDER / "node_modules" / "@asyncapi" / "parser"


@pytest.mark.parametrize("name", files())
def test_each_file_is_what_the_types_make(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == files()[name], "python -m tools.contract"


def test_no_file_of_schemas_is_left_over() -> None:
    made = {name for name in files() if name.startswith("contract/schemas/")}
    assert {f"contract/schemas/{path.name}" for path in (FOLDER / "schemas").iterdir()} == made


@pytest.mark.parametrize("path", sorted((FOLDER / "schemas").iterdir()), ids=lambda path: path.stem)
def test_each_schema_is_valid_json_schema(path: Any) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.skipif(not VALIDATE.exists(), reason="make setup installs AsyncAPI's parser")
def test_the_parser_of_asyncapi_has_nothing_to_say_about_the_document() -> None:
    done = subprocess.run(
        ["node", "validate.mjs", "asyncapi.yaml"], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"6 channels, \d+ operations, \d+ messages\n", done.stdout)


@pytest.mark.skipif(not VALIDATE.exists(), reason="make setup installs AsyncAPI's parser")
def test_the_parser_of_asyncapi_would_find_a_fault(tmp_path: Any) -> None:
    broken = tmp_path / "asyncapi.yaml"
    broken.write_text(files()["contract/asyncapi.yaml"].replace("    Pong:\n", "    Pang:\n"), encoding="utf-8")
    done = subprocess.run(
        ["node", "validate.mjs", broken], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "invalid-ref" in done.stdout


def test_the_example_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", (FOLDER / "README.md").read_text("utf-8"), re.M | re.S)
    monkeypatch.chdir(ROOT)
    exec(compile(example, "README.md", "exec"), {})  # it raises if the event is not valid


# ---- EventBridge's registry -----------------------------------------------------------------------------------------

REGISTRY = yaml.safe_load(files()["contract/event-schemas.yaml"])["Resources"]
REGISTERED = {
    body["Properties"]["SchemaName"]: json.loads(body["Properties"]["Content"])
    for body in REGISTRY.values()
    if body["Type"] == "AWS::EventSchemas::Schema"
}
AS_DELIVERED = {
    "version": "0",
    "id": "9d3f0f5c-9c7d-4d9c-8a3e-6f1c5d2b7a10",
    "account": "123456789012",
    "time": "2024-01-15T10:30:00Z",
    "region": "us-east-1",
    "resources": [],
}


def registered(name: str) -> Draft4Validator:
    """A validator of a registered schema: those of OpenAPI 3.0 are of that draft, but for `nullable`."""
    document = REGISTERED[name]
    Draft4Validator.check_schema(document["components"]["schemas"])
    return Draft4Validator({"$ref": "#/components/schemas/AWSEvent", "components": document["components"]})


def test_each_type_of_event_is_registered() -> None:
    backends = {f"backend@{kind}" for kind in EVENT_TYPES}
    assert REGISTERED.keys() == backends | {f"realtime@{kind}" for kind in to_backends.EVENTS}


@pytest.mark.parametrize("name", REGISTERED)
def test_a_registered_schema_accepts_the_example_as_eventbridge_delivers_it(name: str) -> None:
    source, _, kind = name.partition("@")
    details = examples.TO_BACKENDS if source == "realtime" else examples.FROM_BACKENDS
    event = {**AS_DELIVERED, **examples.bus_event(kind, details[kind], source)}
    registered(name).validate(event)
    assert not registered(name).is_valid({**event, "detail-type": "another"})
    assert not registered(name).is_valid({**event, "detail": {}})


def test_a_registered_schema_has_no_words_that_openapi_lacks() -> None:
    text = json.dumps(REGISTERED)
    for word in ("const", "$defs", "if", "then", "null", "prefixItems"):
        assert f'"{word}"' not in text
    assert max(len(body["Properties"].get("Content", "")) for body in REGISTRY.values()) < 100_000


# ---- what there is --------------------------------------------------------------------------------------------------


def test_the_contract_has_all_types_of_messages_of_each_endpoint() -> None:
    by_endpoint = {endpoint: frozenset(map(kind_of, kinds)) for endpoint, kinds in to_clients.OF_ENDPOINTS.items()}
    assert by_endpoint == messages.TYPES


def test_the_contract_has_all_types_of_frames(handled: set[str]) -> None:
    assert {each.kind for each in contract().sent} == handled


@pytest.fixture
def handled() -> set[str]:
    """The types of frames that the service handles."""
    handler = FrameHandler.__new__(FrameHandler)
    anything: Any = None
    tables: Any = type("Tables", (), {"connections": None, "watched": None})
    handler.__init__(  # type: ignore[misc]
        tables,
        anything,
        anything,
        anything,
        dict.fromkeys(("status", "count", "history")),
        tokens=anything,
        poster=anything,
        farewells=anything,
        lease_seconds=90,
    )
    return set(handler._handlers)


def test_the_contract_has_all_codes_of_errors() -> None:
    def codes(kind: type[ClientError]) -> Iterator[str]:
        for each in kind.__subclasses__():
            yield each.code
            yield from codes(each)

    assert set(get_args(ErrorCode)) == set(codes(ClientError))


def test_the_contract_has_all_types_of_events() -> None:
    assert from_backends.SUMMARIES.keys() == EVENT_TYPES.keys() == examples.FROM_BACKENDS.keys()
    assert to_backends.SUMMARIES.keys() == to_backends.EVENTS.keys() == examples.TO_BACKENDS.keys()


def test_messages_of_calls_and_notifications_may_ask_for_an_acknowledgement() -> None:
    assert set(get_args(Acknowledgeable)) == messages.TYPES["calls"] | messages.TYPES["notifications"]


def test_a_message_has_the_keys_of_its_envelope() -> None:
    """The types of clients rely on it: they name every key of the envelope in each message."""
    for said in contract().received:
        kind = getattr(to_clients, said.name)
        assert set(get_type_hints(kind)) <= {"type", "data", "timestamp", "id", "version", "ack", "position"}


# ---- examples and samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", examples.RECEIVED)
def test_each_example_of_a_message_is_valid(kind: str) -> None:
    message = examples.RECEIVED[kind]
    promised.check_message(message)
    promised.validator("server-frame").validate(message)
    promised.validator("server-frame").validate([message, message])


@pytest.mark.parametrize("kind", examples.SENT)
def test_each_example_of_a_frame_is_valid(kind: str) -> None:
    promised.check_sent(examples.SENT[kind])
    promised.validator("client-frame").validate(examples.SENT[kind])


@pytest.mark.parametrize("kind", examples.FROM_BACKENDS)
def test_each_example_of_a_backends_event_is_valid(kind: str) -> None:
    promised.check_published(kind, examples.FROM_BACKENDS[kind])
    event = examples.bus_event(kind, examples.FROM_BACKENDS[kind], "marketplace")
    promised.validator("backend-event").validate(event)
    validate("1", "marketplace", kind, examples.FROM_BACKENDS[kind], 0)


@pytest.mark.parametrize("kind", examples.TO_BACKENDS)
def test_each_example_of_an_event_of_the_service_is_valid(kind: str) -> None:
    event = examples.bus_event(kind, examples.TO_BACKENDS[kind], "realtime")
    promised.check_told(event)
    promised.validator("service-event").validate(event)


@pytest.mark.parametrize("action", examples.ASKED)
def test_each_example_of_a_request_to_admin_is_valid(action: str) -> None:
    promised.validator("admin-request").validate(examples.ASKED[action])


def test_each_example_of_an_answer_of_admin_is_valid() -> None:
    assert tuple(examples.ANSWERED) == contract().answered
    assert tuple(examples.ASKED) == tuple(each.kind for each in contract().asked)
    for answer in examples.ANSWERED.values():
        promised.validator("admin-answer").validate(answer)


def test_the_example_of_a_token_is_valid() -> None:
    promised.validator("token").validate(examples.TOKEN)


@pytest.mark.parametrize("name", samples.names("default"))
def test_each_sample_of_a_frame_is_valid_if_the_service_can_read_it(name: str) -> None:
    body = samples.sample(name)["body"]
    if name in {"default.garbage", "default.unknown-type"}:
        with pytest.raises((ValueError, AssertionError)):
            promised.check_sent(json.loads(body))
    else:
        promised.check_sent(json.loads(body))


@pytest.mark.parametrize("name", samples.names("ingest"))
def test_each_sample_of_a_backends_event_is_valid_unless_the_service_rejects_it(name: str) -> None:
    event = samples.backend_event(name.removeprefix("ingest."))
    if name == "ingest.breaks-schema":
        with pytest.raises(promised.BreaksTheContractError):
            promised.check_published(event["detail-type"], event["detail"])
    else:
        promised.check_published(event["detail-type"], event["detail"])
        promised.validator("backend-event").validate(event)


def _frames_in(sample: Any) -> Iterator[str]:
    """Yield the frames that a sample's items or queue messages hold."""
    if isinstance(sample, dict):
        for key, value in sample.items():
            if key in {"message", "frame", "presence_message", "feed_message"}:
                yield value["S"] if isinstance(value, dict) else value
            elif key == "frames":
                yield from (text for text, _ in value)
            elif key == "body" and isinstance(value, str):
                yield from _frames_in(json.loads(value))
            else:
                yield from _frames_in(value)
    elif isinstance(sample, list):
        for each in sample:
            yield from _frames_in(each)


@pytest.mark.parametrize("function", ["broadcast", "farewell", "late"])
def test_each_message_in_a_sample_is_valid(function: str) -> None:
    found = [frame for name in samples.names(function) for frame in _frames_in(samples.sample(name))]
    assert found
    for frame in found:
        promised.check_heard(frame)


def test_the_claims_of_the_tokens_in_the_samples_are_valid() -> None:
    query = samples.sample("connect.token-in-query")["queryStringParameters"]
    verifier = Tokens(_Shared(), None, max_seconds=10**10)
    claims = verifier._claims(query["token"])
    promised.validator("token").validate(claims)


def test_the_claims_that_the_command_line_signs_are_valid() -> None:
    token = signing.sign({"k": samples.SECRET}, "789", role="listener", username="sam", scope="calls")
    promised.validator("token").validate(Tokens(_Shared(), None, max_seconds=10**10)._claims(token))


class _Shared:
    """The secret of the samples, for any key id."""

    def candidates(self, kid: str | None) -> list[str]:
        return [samples.SECRET]


# ---- the schemas and the service accept the same --------------------------------------------------------------------

ID = examples.ID
USER_IDS = [[1], ["a"], [1, "b"], [], [""], ["a/b"], ["a b"], [None], [True], [1.5], [1.0], "1", None, ["x" * 129]]
USER_IDS += [["x" * 128], list(range(100)), list(range(101)), {"1": 1}, ["é"], ["\x7f"]]
IDS = [ID, ID.upper(), "", "0" * 27, "0" * 28, 5, None, [ID]]
POSITIONS: list[Any] = [examples.SINCE, {}, [], None, "x", {"since": 5}, {"since": None}]
SMALL: list[Any] = [{}, {"more": 1}, [], None, "x"]
FRAMES: list[dict[str, Any]] = [
    *({"type": kind, "data": {"user_ids": each}} for kind in ("watch", "unwatch") for each in USER_IDS),
    *({"type": "ack", "data": {"id": each}} for each in IDS),
    *({"type": "resume", "data": {"last_id": each}} for each in IDS),
    *({"type": "resume", "data": {"position": each}} for each in POSITIONS),
    *({"type": kind, "data": data} for kind in ("ping", "sync", "count") for data in SMALL),
    *({"type": "authenticate", "data": data} for data in ({}, {"token": "x"}, {"token": 5}, {"token": None})),
    *({"type": "status", "data": {"status": each}} for each in ("online", "busy", "away", "gone", "", 5, None)),
    *({"type": "history", "data": {name: each}} for name in ("before", "after") for each in IDS),
    *({"type": "history", "data": {"limit": each}} for each in (1, 100, 0, 101, "5", True, None, 1.5)),
    *({"type": kind} for kind in examples.SENT),
    *({"type": kind, "data": {}, "timestamp": 5, "more": True} for kind in examples.SENT),
    {"type": "shout", "data": {}},
    {"type": 5},
    {},
]


def reads(frame: dict[str, Any]) -> bool:
    """Return whether the service can read a frame; what it does then needs tables."""
    checks: dict[str, Callable[[dict[str, Any]], object]] = {
        "ping": lambda data: None,
        "sync": lambda data: None,
        "watch": lambda data: parse_user_ids(data.get("user_ids")),
        "unwatch": lambda data: parse_user_ids(data.get("user_ids")),
        "ack": lambda data: event_time_ms(data.get("id")),
        "resume": lambda data: (
            parse_all(data["position"]) if "position" in data else event_time_ms(data.get("last_id"))
        ),
        "status": lambda data: parse_status(data.get("status")),
        "count": lambda data: None,
        "history": parse_wanted,
        "authenticate": lambda data: _must(isinstance(data.get("token"), str)),
    }
    try:
        kind, data = parse_frame(json.dumps(frame))
        checks[kind](data)
    except (BadRequest, ValueError, KeyError):
        return False
    return True


def _must(holds: bool) -> None:
    if not holds:
        raise ValueError


@pytest.mark.parametrize("frame", FRAMES, ids=json.dumps)
def test_the_schema_accepts_a_frame_if_the_service_reads_it(frame: dict[str, Any]) -> None:
    assert promised.validator("client-frame").is_valid(frame) is reads(frame)


VALUES: list[Any] = [0, 1, 1.0, 1.5, -1, True, None, "", "x", "x y", "a/b", "\x00", "x" * 128, "x" * 129, "x" * 257]
VALUES += ["éß", [], [1], ["a"], {}, {"to": [1]}, "everyone", ["everyone"], list(range(90)), list(range(91))]
DELIVERIES: list[Any] = [
    *({"to": each} for each in (*VALUES, "nobody")),
    *({"to": [1], "expires_in": each} for each in (0, 1, 86_400, 86_401, None, "1", True, 1.5)),
    *({"to": [1], "ack_within": each} for each in (0, 1, 900, 901, None, "1")),
    *({"to": list(range(count)), "ack_within": 5} for count in (45, 46)),
    {"to": "everyone", "ack_within": 5},
    {"to": "everyone", "expires_in": 5},
    *({**to, "idempotency_key": each} for to in ({}, {"to": [1]}) for each in ("a", "", None, 5, "x" * 257)),
    {"ack_within": 5},
    {"expires_in": 5},
    {"to": [1], "more": 1},
    {},
]


LEFT_OUT = {"to": None}  # is taken where nobody may be named; but no schema advises to write it


def variants(kind: str) -> Iterator[dict[str, Any]]:
    """Yield details of events, most of them broken in one place."""
    whole = examples.FROM_BACKENDS[kind]
    yield whole
    for key in whole:
        yield {name: value for name, value in whole.items() if name != key}
        if key != "delivery":
            yield from ({**whole, key: value} for value in VALUES)
    yield from ({**whole, "delivery": delivery} for delivery in (*DELIVERIES, *VALUES))
    yield {**whole, "more": {"of": ["anything"]}}


def is_taken(kind: str, detail: dict[str, Any]) -> bool:
    """Return whether `ingest` takes an event."""
    try:
        validate("1", "marketplace", kind, detail, 0)
    except InvalidEvent:
        return False
    return True


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_the_schema_accepts_a_backends_event_if_ingest_takes_it(kind: str) -> None:
    schema = promised.validator("backend-event")
    left_out = LEFT_OUT if EVENT_TYPES[kind].default == "presence" else object()
    different = []
    for detail in variants(kind):
        taken = is_taken(kind, detail) and detail.get("delivery") != left_out
        if schema.is_valid(examples.bus_event(kind, detail, "marketplace")) is not taken:
            different.append((taken, detail))
    assert different == []


def test_an_event_with_the_services_own_source_is_no_backends_event() -> None:
    event = examples.bus_event("status_change", examples.FROM_BACKENDS["status_change"], "realtime")
    with pytest.raises(ValidationError):
        promised.validator("backend-event").validate(event)


CLAIMS: dict[str, list[Any]] = {
    "sub": [1, "1", "", "a b", None, True],
    "username": ["x", "", 5, None, "x" * 257],
    "role": ["listener", "", 5, None],
    "scope": ["feed", "", None, 5, ["feed", "openid"], [], ["feed", 5], {"feed": True}],
    "exp": [4_000_000_000, "soon", None],
    "iat": [1, "now"],
}


@pytest.mark.parametrize(("claim", "value"), [(claim, value) for claim in CLAIMS for value in CLAIMS[claim]])
def test_the_schema_accepts_the_claims_that_the_service_accepts(claim: str, value: object) -> None:
    claims = {"sub": "123", "exp": 4_000_000_000, claim: value}
    verifier = Tokens(_Shared(), None, max_seconds=10**10)
    try:
        verifier.verify(jwt.encode(claims, samples.SECRET, algorithm="HS256", headers={"kid": "k"}))
        accepted = True
    except AuthFailed:
        accepted = False
    assert promised.validator("token").is_valid(claims) is accepted
