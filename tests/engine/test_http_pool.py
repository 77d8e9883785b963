"""The pool over real sockets: the requests that arrive, and the results of broken answers."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness.fake_api import FakeApi, Step, Trouble
from realtime.posting.delivery import Frame, Outcome
from realtime.posting.http_pool import HttpPool
from realtime.posting.poster import Poster
from tests.support.posters import Frozen, MakePoster, delivery, outcomes, results

TIMEOUT_S = 0.2
FRAMES = [Frame(f"frame {number}".encode()) for number in range(3)]
BODIES = [frame.body for frame in FRAMES]


@pytest.fixture
def pool(fake: FakeApi) -> Iterator[HttpPool[str]]:
    pool: HttpPool[str] = HttpPool(fake.url, connect_timeout_s=1.0, timeout_s=TIMEOUT_S, ca_bundle=None)
    yield pool
    pool.close()


def post(pool: HttpPool[str], connection_id: str, body: bytes = b"hello", *, method: str = "POST") -> None:
    pool.send(connection_id, method, f"/feed/@connections/{connection_id}", ["X-Test: 1"], body)


def answers(pool: HttpPool[str]) -> dict[str, tuple[int, str]]:
    """Wait for all answers, and return the status and text of each task."""
    found: dict[str, tuple[int, str]] = {}
    ends = time.monotonic() + 30
    while pool.in_flight and time.monotonic() < ends:
        found |= {task: (status, text) for task, status, text in pool.receive()}
        pool.wait(0.05)
    return found


def test_requests_arrive_as_they_were_sent(fake: FakeApi, pool: HttpPool[str]) -> None:
    post(pool, "a", b"one")
    post(pool, "b", b"", method="DELETE")
    post(pool, "c", b"", method="GET")
    assert answers(pool) == {"a": (200, ""), "b": (204, ""), "c": (200, "")}
    requests = {each.connection_id: each for each in fake.requests}
    assert {name: (each.method, each.body) for name, each in requests.items()} == {
        "a": ("POST", b"one"),
        "b": ("DELETE", b""),
        "c": ("GET", b""),
    }
    assert requests["a"].headers["x-test"] == "1"
    assert "content-type" not in requests["a"].headers


def test_a_handle_that_made_another_request_makes_the_next_one_right(fake: FakeApi, pool: HttpPool[str]) -> None:
    for method, body in (("POST", b"one"), ("DELETE", b""), ("POST", b"one"), ("GET", b""), ("POST", b"two")):
        post(pool, "a", body, method=method)
        answers(pool)
    assert [(each.method, each.body) for each in fake.requests] == [
        ("POST", b"one"),
        ("DELETE", b""),
        ("POST", b"one"),
        ("GET", b""),
        ("POST", b"two"),
    ]
    assert fake.peers == 1


@pytest.mark.parametrize(
    ("step", "status", "text"),
    [
        (429, 429, '{"message":"scripted"}'),
        (Trouble.HANG, 0, "timed out"),
        (Trouble.RESET, 0, "reset"),
        (Trouble.HALF_STATUS, 0, "timed out"),
        (Trouble.SLOW_ERROR, 500, "timed out"),
        (Trouble.SLOW_BODY, 200, "timed out"),  # accepted, even if the answer never ends
    ],
)
def test_a_failure_is_a_status_or_0_and_a_text(
    fake: FakeApi, pool: HttpPool[str], step: Step, status: int, text: str
) -> None:
    fake.script("bad", [step])
    post(pool, "bad")
    post(pool, "good")
    found = answers(pool)
    assert found["good"] == (200, "")
    assert found["bad"][0] == status
    assert text in found["bad"][1]


def test_a_long_text_is_cut_to_its_beginning(fake: FakeApi, pool: HttpPool[str]) -> None:
    fake.texts[500] = b"x" * 5000
    fake.script("bad", [500, 429])
    post(pool, "bad")
    assert answers(pool) == {"bad": (500, "x" * 4096)}
    post(pool, "bad")
    assert answers(pool) == {"bad": (429, '{"message":"scripted"}')}, "nothing is left of the text before"


def test_only_a_get_brings_the_text_of_a_good_answer(fake: FakeApi, pool: HttpPool[str]) -> None:
    fake.texts[200] = b'{"lastActiveAt":"2024-01-15T10:30:00Z"}'
    fake.script("got", [200])
    fake.script("posted", [200])
    post(pool, "got", b"", method="GET")
    post(pool, "posted")
    assert answers(pool) == {"got": (200, fake.texts[200].decode()), "posted": (200, "")}


def test_a_request_ends_after_its_timeout(fake: FakeApi, pool: HttpPool[str]) -> None:
    fake.script("bad", [Trouble.HANG])
    began = time.monotonic()
    post(pool, "bad")
    answers(pool)
    assert TIMEOUT_S <= time.monotonic() - began < 10


def test_an_api_that_cannot_be_reached_gives_no_answer() -> None:
    pool: HttpPool[str] = HttpPool("http://localhost:1", connect_timeout_s=1.0, timeout_s=1.0, ca_bundle=None)
    post(pool, "a")
    ((status, text),) = answers(pool).values()
    assert status == 0
    assert "connect" in text
    pool.close()


def test_abandoned_requests_give_no_answer_and_the_pool_can_be_used_again(fake: FakeApi, pool: HttpPool[str]) -> None:
    fake.script("bad", [Trouble.HANG])
    post(pool, "bad")
    pool.receive()
    assert pool.abandon() == ["bad"]
    assert pool.in_flight == 0
    post(pool, "next")
    assert answers(pool) == {"next": (200, "")}


def test_some_requests_can_be_abandoned_while_the_others_go_on(fake: FakeApi, pool: HttpPool[str]) -> None:
    fake.script("bad", [Trouble.HANG])
    post(pool, "bad")
    post(pool, "good")
    assert pool.abandon(lambda task: task == "bad") == ["bad"]
    assert answers(pool) == {"good": (200, "")}


def test_connections_to_the_api_are_kept_and_bounded(fake: FakeApi, new_poster: MakePoster) -> None:
    poster = new_poster(max_in_flight=8)
    for _ in range(2):
        outcomes(poster, (delivery(f"c{number}") for number in range(100)))
    assert len(fake.requests) == 200
    assert fake.most_at_once <= 8
    assert fake.peers <= 8


def test_a_request_carries_a_signature_that_botocore_would_make(fake: FakeApi, poster: Poster) -> None:
    assert outcomes(poster, [delivery("odd/id =+%")]) == {"odd/id =+%": Outcome.DELIVERED}
    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/feed/@connections/odd%2Fid%20%3D%2B%25")
    when = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    again = AWSRequest(method="POST", url=f"http://{request.headers['host']}{request.path}", data=request.body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=when):
        SigV4Auth(Credentials(*Frozen()), "execute-api", "eu-west-1").add_auth(again)
    assert request.headers["authorization"] == again.headers["Authorization"]


def test_an_endpoint_url_may_have_a_path(fake: FakeApi, new_poster: MakePoster) -> None:
    poster = new_poster(endpoint_url=f"{fake.url}/_aws/execute-api/realtime/")
    assert outcomes(poster, [delivery("c")]) == {"c": Outcome.DELIVERED}
    assert fake.requests[0].path == "/_aws/execute-api/realtime/feed/@connections/c"


def test_the_text_of_a_refusal_is_in_the_result(fake: FakeApi, poster: Poster) -> None:
    text = b'{"message":"User: x is not authorized to perform: execute-api:ManageConnections"}'
    fake.texts[403], fake.default = text, 403
    result = results(poster, [delivery("c")])["c"]
    assert (result.outcome, result.reason) == (Outcome.FORBIDDEN, f"403 {text.decode()}")
    assert poster.refusal == f"POST {fake.url}/feed/@connections/*: 403 {text.decode()}"


def test_each_of_many_connections_gets_what_its_own_script_lets_through(fake: FakeApi, new_poster: MakePoster) -> None:
    chance = random.Random(1)
    poster = new_poster(patience_s=30.0, max_in_flight=32)
    troubles: list[Step] = [429, 500, *Trouble]
    expected: dict[str, list[bytes]] = {}

    def everyone() -> Iterable[str]:
        for number in range(150):
            connection_id = f"{chance.getrandbits(60):x}{number}="
            trouble = [step for step in troubles if chance.random() < 0.05]
            fake.script(connection_id, [200, *trouble])
            expected[connection_id] = BODIES
            yield connection_id

    reported = outcomes(poster, [delivery(each, FRAMES) for each in everyone()])
    assert reported == dict.fromkeys(expected, Outcome.DELIVERED)
    assert {each: fake.bodies(each) for each in expected} == expected
